package publish_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/publish"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// scene is an account with a launch template "web" and snapshots.
type scene struct {
	t      *testing.T
	cloud  *agenttest.Cloud
	store  ec2test.Store
	client *ec2ops.Client
	src    config.Source
	o      publish.Options
	id     string // of the template
}

var on = true

// handMade is what a template has that somebody has made.
func handMade() ec2test.TemplateData {
	none := ""
	return ec2test.TemplateData{
		ImageID: "ami-0123456789abcdef0", InstanceType: "m5.large", UserData: "IyEvYmluL3No",
		Mappings: []ec2test.TemplateMapping{
			{Device: "/dev/xvda", EBS: &ec2test.TemplateEBS{Size: 20, Type: "gp3", Encrypted: &on}},
			{Device: "sdb", Virtual: "ephemeral0"},
			{Device: "/dev/sdc", NoDevice: &none},
			{Device: "/dev/sdg", EBS: &ec2test.TemplateEBS{Size: 100, Type: "io2", IOPS: 1000, DeleteOnTermination: &on, CardIndex: 1}},
		},
		TagSpecs: []ec2test.TemplateTags{
			{ResourceType: "instance", Tags: ec2test.Tags{"Name": "web", "team": "pens"}},
			{ResourceType: "volume", Tags: ec2test.Tags{"team": "pens"}},
		},
	}
}

func newScene(t *testing.T, o ec2test.Options) *scene {
	t.Helper()
	o.Store = ec2test.NewMemory()
	o.Seed = max(o.Seed, 1)
	s := &scene{t: t, cloud: agenttest.New(t, o), store: o.Store, src: config.DefaultSource(), o: publish.Options{Keep: publish.DefaultKeep}}
	s.client = s.cloud.Start("ops").Agent().Client
	s.id = s.cloud.AddTemplate("web", handMade())
	return s
}

// snapshot adds an eligible snapshot, after a while.
func (s *scene) snapshot(source string) string {
	time.Sleep(time.Minute)
	return s.snapshotNow(source)
}

func (s *scene) snapshotNow(source string) string {
	time.Sleep(time.Millisecond)
	return s.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": source, ec2ops.TagSource: source}})
}

// publish publishes, which must succeed.
func (s *scene) publish() publish.Published {
	s.t.Helper()
	out, err := publish.Publish(s.t.Context(), s.client, s.src, "web", s.o)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *scene) template() *ec2test.Template { return s.cloud.World().Templates[s.id] }

// data is what launches from the default version use.
func (s *scene) data() ec2test.TemplateData {
	t := s.template()
	return t.Versions[t.Default].Data
}

// entry is the mapping of a device in the default version.
func (s *scene) entry(device string) *ec2test.TemplateEBS {
	for _, m := range s.data().Mappings {
		if m.Device == device {
			return m.EBS
		}
	}
	return nil
}

// tags are those of volumes in the default version.
func (s *scene) tags() ec2test.Tags {
	for _, spec := range s.data().TagSpecs {
		if spec.ResourceType == "volume" {
			return spec.Tags
		}
	}
	return nil
}

// in runs a test on a virtual clock.
func in(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	agenttest.UseEnv(t)
	synctest.Test(t, test)
}

// TestPublish: the default version names the newest snapshot, and all else is as it was.
func TestPublish(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		first := s.snapshot("codepen-app")
		s.src.IOPS, s.src.Throughput, s.src.InitializationRate, s.src.SizeGiB = 4000, 250, 200, 8
		s.src.Tags = map[string]string{"cost": "pens", "team": "code"}
		out := s.publish()
		want := handMade()
		want.Mappings = append(want.Mappings, ec2test.TemplateMapping{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{
			SnapshotID: first, Size: 8, Type: "gp3", IOPS: 4000, Throughput: 250, InitializationRate: 200, DeleteOnTermination: &on}})
		want.TagSpecs[1].Tags = ec2test.Tags{"team": "code", "cost": "pens", "Name": "codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagSnapshot: first}
		if diff := cmp.Diff(want, s.data()); diff != "" {
			t.Errorf("the default version:\n%s", diff)
		}
		if !out.Changed || !out.Default || out.Version != 2 || out.Base != 1 || out.Snapshot != first || out.ID != s.id || out.Name != "web" || len(out.Notes) > 0 {
			t.Errorf("%+v", out)
		}
		wantChanges := []string{"/dev/sdf: " + first + ", 8 GiB, gp3, 4000 IOPS, 250 MiB/s, 200 MiB/s initialization", "tag Name: codepen-app", "tag cost: pens",
			"tag snapsource:snapshot: " + first, "tag snapsource:source: codepen-app", "tag team: code, was pens"}
		if diff := cmp.Diff(wantChanges, out.Changes); diff != "" {
			t.Error(diff)
		}
		if got := s.template().Versions[2].Description; got != "snapsource codepen-app "+first {
			t.Errorf("described as %q", got)
		}

		before := len(s.cloud.Calls())
		if out := s.publish(); out.Changed || !out.Default || out.Version != 2 || out.Snapshot != first {
			t.Errorf("again: %+v", out)
		}
		if calls := s.cloud.Calls()[before:]; len(calls) != 4 || len(s.template().Versions) != 2 {
			t.Errorf("again: %v", calls)
		}

		second := s.snapshot("codepen-app")
		s.src.Device = "/dev/sdh"
		if out := s.publish(); out.Version != 3 || s.entry("/dev/sdf") != nil || s.entry("/dev/sdh").SnapshotID != second || len(s.data().Mappings) != 5 {
			t.Errorf("at another device: %+v\n%+v", out, s.data())
		}
		if tags := s.tags(); tags[ec2ops.TagSnapshot] != second {
			t.Errorf("tags %v", tags)
		}
	})
}

// TestSeveralSources: each has its entry and its place in the lists, and takes nothing from another.
func TestSeveralSources(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		a := s.snapshot("codepen-app")
		s.publish()
		app := s.src
		s.src.Name, s.src.Device = "assets", "/dev/sdh"
		b := s.snapshot("assets")
		s.publish()
		check := func(a, b string) {
			t.Helper()
			tags := s.tags()
			if tags["Name"] != "assets codepen-app" || tags[ec2ops.TagSource] != "assets codepen-app" || tags[ec2ops.TagSnapshot] != b+" "+a {
				t.Errorf("tags %v, want %s and %s", tags, b, a)
			}
			if s.entry("/dev/sdf").SnapshotID != a || s.entry("/dev/sdh").SnapshotID != b || len(s.data().Mappings) != 6 {
				t.Errorf("%+v", s.data().Mappings)
			}
			for _, source := range []string{"codepen-app", "assets"} {
				if v := (ec2ops.Volume{SnapshotID: map[string]string{"codepen-app": a, "assets": b}[source], Tags: tags}); !v.PublishedFor(source) {
					t.Errorf("%v is not published for %s", v, source)
				}
			}
		}
		check(a, b)
		s.src = app
		a = s.snapshot("codepen-app")
		s.publish()
		check(a, b)
		// Even one whose snapshot is deleted is known by the tags.
		if err := s.client.DeleteSnapshot(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		a = s.snapshot("codepen-app")
		s.publish()
		check(a, b)
	})
}

// TestLatest: with Latest the newest version is the base, and the default one stays.
func TestLatest(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		snap := s.snapshot("codepen-app")
		newer := handMade()
		newer.InstanceType = "m5.2xlarge"
		s.cloud.AddTemplateVersion(s.id, "bigger", newer)
		s.o.Latest = true
		out := s.publish()
		if got := s.template().Versions[3]; s.template().Default != 1 || out.Default || out.Version != 3 || got.Data.InstanceType != "m5.2xlarge" || !strings.Contains(fmt.Sprint(out.Notes), "made from version 2, the latest") {
			t.Errorf("%+v, %+v", out, s.template())
		}
		if out := s.publish(); out.Changed || out.Version != 3 {
			t.Errorf("again: %+v", out)
		}
		s.o.Latest = false
		out = s.publish()
		if s.template().Default != out.Version || out.Version != 4 || s.data().InstanceType != "m5.large" || s.entry("/dev/sdf").SnapshotID != snap {
			t.Errorf("%+v", out)
		}
	})
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		s.snapshot("codepen-app")
		s.cloud.AddTemplateVersion(s.id, "bigger", handMade())
		if out := s.publish(); !strings.Contains(fmt.Sprint(out.Notes), "version 2 is newer, and what it changed is not in it") {
			t.Errorf("%+v", out)
		}
	})
}

// TestKeep: old versions of ours go, but none that is used, or that somebody else has made.
func TestKeep(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		s.cloud.AddTemplateVersion(s.id, "by hand", handMade())
		copied := s.cloud.AddTemplateVersion(s.id, "snapsource codepen-app snap-0123456789abcdef0", handMade()) // its mapping names no such snapshot
		s.o.Keep = 3
		for range 5 {
			s.snapshot("codepen-app")
			s.publish()
		}
		// 4 to 8 are ours.
		if got := slices.Sorted(maps.Keys(s.template().Versions)); !slices.Equal(got, []int64{1, 2, copied, 6, 7, 8}) {
			t.Errorf("left are %v", got)
		}
		s.cloud.AddGroup(ec2test.Group{Name: "pinned", Template: "web", TemplateVersion: "6"})
		s.cloud.AddGroup(ec2test.Group{Name: "mixed", Template: s.id, TemplateVersion: "1", Mixed: true})
		s.cloud.AddGroup(ec2test.Group{Name: "follows", Template: "web", TemplateVersion: "$Default"})
		s.cloud.AddGroup(ec2test.Group{Name: "other", Template: "db", TemplateVersion: "7"})
		s.snapshot("codepen-app")
		s.o.Keep, s.o.DryRun = 1, true
		before := len(s.cloud.Mutations())
		dry := s.publish()
		if !dry.Changed || dry.Version != 0 || !slices.Equal(dry.Deleted, []int64{8, 7}) && !slices.Equal(dry.Deleted, []int64{7}) || len(s.cloud.Mutations()) != before {
			t.Errorf("a dry run: %+v", dry)
		}
		s.o.DryRun = false
		out := s.publish()
		if diff := cmp.Diff([]publish.Pinned{{Group: "mixed", Version: "1"}, {Group: "pinned", Version: "6"}}, out.Pinned); diff != "" {
			t.Error(diff)
		}
		if got := slices.Sorted(maps.Keys(s.template().Versions)); !slices.Equal(got, []int64{1, 2, copied, 6, 9}) || !slices.Equal(out.Deleted, []int64{8, 7}) {
			t.Errorf("left are %v, deleted %v", got, out.Deleted)
		}
		s.snapshot("codepen-app")
		s.fault("error=DescribeAutoScalingGroups:AccessDenied")
		if out := s.publish(); len(out.Deleted) > 0 || !strings.Contains(fmt.Sprint(out.Notes), "no old version is deleted") {
			t.Errorf("without the groups: %+v", out)
		}
	})
}

// TestStillListed: EC2 lists a snapshot for some seconds after somebody has deleted it. The one
// before it is published instead, and no version that names the deleted one stays.
func TestStillListed(t *testing.T) {
	for lag, code := range map[string]int{"8s": failure.ExitDone, "3m": failure.ExitTemporary} {
		in(t, func(t *testing.T) {
			s := newScene(t, ec2test.Options{})
			before := s.snapshot("codepen-app")
			s.publish()
			deleted := s.snapshot("codepen-app")
			s.fault("lag=DeleteSnapshot:" + lag)
			if err := s.client.DeleteSnapshot(t.Context(), deleted); err != nil {
				t.Fatal(err)
			}
			out, err := publish.Publish(t.Context(), s.client, s.src, "web", s.o)
			if failure.ExitCode(err) != code {
				t.Errorf("lag %s: %+v, %v", lag, out, err)
			}
			if code != failure.ExitDone && !strings.Contains(err.Error(), deleted) {
				t.Errorf("lag %s: %v", lag, err)
			}
			if got := s.entry("/dev/sdf").SnapshotID; got != before || len(s.template().Versions) != 2 {
				t.Errorf("lag %s: published %s, not %s; %d versions", lag, got, before, len(s.template().Versions))
			}
		})
	}
}
