package publish_test

import (
	"context"
	"errors"
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
	"snapsource/agent/releases"
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

// refused are the cases that publish refuses, with what it says.
var refused = map[string]struct {
	prepare func(s *scene)
	code    int
	says    string
}{
	"unknown template":  {func(s *scene) { s.id, s.src.Name = "", "nothing" }, failure.ExitNoSnapshot, "no snapshot with the tag Name=nothing"},
	"a blank data disk": {func(s *scene) { s.src.Device = "/dev/sdg" }, failure.ExitUsage, "version 1 has /dev/sdg for something else: a blank volume of 100 GiB"},
	"the same on Xen":   {func(s *scene) { s.src.Device = "/dev/xvdg" }, failure.ExitUsage, "has /dev/sdg for something else"},
	"instance store":    {func(s *scene) { s.src.Device = "/dev/sdb" }, failure.ExitUsage, "the instance store volume ephemeral0"},
	"left out":          {func(s *scene) { s.src.Device = "/dev/sdc" }, failure.ExitUsage, "leaves the image's device of this name out"},
	"another source": {func(s *scene) {
		s.publish()
		s.src.Name = "assets"
		s.snapshot("assets")
	}, failure.ExitUsage, "the source codepen-app, from snap-"},
	"another snapshot": {func(s *scene) {
		data := handMade()
		data.Mappings = append(data.Mappings, ec2test.TemplateMapping{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{SnapshotID: s.cloud.AddSnapshot(ec2test.Snapshot{})}})
		s.setData(data)
	}, failure.ExitUsage, "a volume from snap-"},
	"tags are full": {func(s *scene) {
		data := handMade()
		for n := range 46 {
			data.TagSpecs[1].Tags[fmt.Sprint("tag", n)] = "x"
		}
		s.setData(data)
	}, failure.ExitUsage, "would have 50 tags, and 2 more once snapsource up has taken one over, but EC2 permits 50"},
	"a list too long": {func(s *scene) {
		names, ids := []string{}, []string{}
		data := handMade()
		for n := range 12 {
			id := s.cloud.AddSnapshot(ec2test.Snapshot{})
			names, ids = append(names, fmt.Sprint("s", n)), append(ids, id)
			data.Mappings = append(data.Mappings, ec2test.TemplateMapping{Device: "/dev/xvdb" + string(rune('a'+n)), EBS: &ec2test.TemplateEBS{SnapshotID: id}})
		}
		data.TagSpecs[1].Tags = ec2test.Tags{ec2ops.TagSource: strings.Join(names, " "), ec2ops.TagSnapshot: strings.Join(ids, " ")}
		s.setData(data)
	}, failure.ExitUsage, "the tag snapsource:snapshot of volumes would have 298 characters, but EC2 permits 256"},
	"lists that do not match": {func(s *scene) {
		data := handMade()
		data.TagSpecs[1].Tags[ec2ops.TagSource] = "assets other"
		s.setData(data)
	}, failure.ExitUsage, "do not list as many sources as snapshots"},
	"to be encrypted": {func(s *scene) { s.src.Encrypted = true }, failure.ExitUsage, "encrypted: snap-"},
	"with another key": {func(s *scene) {
		s.encrypt("arn:aws:kms:us-west-2:123456789012:key/b")
		s.src.Encrypted, s.src.KMSKey = true, "arn:aws:kms:us-west-2:123456789012:key/a"
	}, failure.ExitUsage, "kms-key: snap-"},
	"not what a launch can have": {func(s *scene) { s.src.IOPS = 40000 }, failure.ExitUsage, "web: EC2 warns of the new version, which is not used and deleted again: CreateLaunchTemplateVersion lt-"},
	"too many versions": {func(s *scene) {
		for range 9 {
			s.cloud.AddTemplateVersion(s.id, "", handMade())
		}
	}, failure.ExitUsage, "LaunchTemplateVersionLimitExceeded"},
	"an invalid key": {func(s *scene) { s.fault("error=CreateLaunchTemplateVersion:InvalidKMSKey.InvalidState") }, failure.ExitDenied, "InvalidKMSKey.InvalidState"},
	"may not create": {func(s *scene) { s.fault("error=CreateLaunchTemplateVersion:UnauthorizedOperation") }, failure.ExitDenied, "UnauthorizedOperation"},
	"only pending ones": {func(s *scene) {
		s.src.Name = "assets"
		s.cloud.AddSnapshot(ec2test.Snapshot{Completed: time.Now().Add(time.Hour), Tags: ec2test.Tags{"Name": "assets"}})
	}, failure.ExitTemporary, "is pending"},
	"only rejected ones": {func(s *scene) {
		if _, err := releases.Reject(s.t.Context(), s.client, s.src.Name, releases.Latest, releases.RejectOptions{AllowNone: true}, time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}, failure.ExitNoSnapshot, "is rejected"},
}

// setData replaces the first version.
func (s *scene) setData(data ec2test.TemplateData) {
	s.change(func(w *ec2test.World) {
		w.Templates[s.id].Versions[1] = &ec2test.TemplateVersion{Number: 1, Created: time.Now(), Data: data}
	})
}

func (s *scene) encrypt(key string) {
	s.change(func(w *ec2test.World) {
		for _, snap := range w.Snapshots {
			snap.Encrypted, snap.KMSKeyID = true, key
		}
	})
}

func (s *scene) change(edit func(*ec2test.World)) {
	s.t.Helper()
	if err := s.store.Update(s.t.Context(), func(w *ec2test.World) error { edit(w); return nil }); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) fault(spec string) {
	f, err := ec2test.ParseFault(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cloud.Server.SetFaults(f)
}

// TestRefused: each bad input has its own error, and what launches use is as before.
func TestRefused(t *testing.T) {
	for name, tc := range refused {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := newScene(t, ec2test.Options{TemplateVersionLimit: 10})
				s.snapshot("codepen-app")
				tc.prepare(s)
				before := s.cloud.World().Templates
				_, err := publish.Publish(t.Context(), s.client, s.src, "web", s.o)
				if failure.ExitCode(err) != tc.code || !strings.Contains(failure.Line(err), tc.says) {
					t.Errorf("exit code %d, want %d: %v", failure.ExitCode(err), tc.code, err)
				}
				after := s.cloud.World().Templates
				for id, was := range before {
					was.Last = after[id].Last
					if diff := cmp.Diff(was, after[id]); diff != "" {
						t.Errorf("the template is changed:\n%s", diff)
					}
				}
			})
		})
	}
}

// TestNoSuchTemplate names the region, and what EC2 says.
func TestNoSuchTemplate(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		s.snapshot("codepen-app")
		for _, name := range []string{"nosuch", "lt-0123456789abcdef0"} {
			_, err := publish.Publish(t.Context(), s.client, s.src, name, s.o)
			if failure.ExitCode(err) != failure.ExitUsage || !strings.Contains(failure.Line(err), "there is no launch template "+name+" in this account and region (us-west-2)") {
				t.Errorf("%v", err)
			}
		}
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

// hooked is a cloud with something that happens before one of its calls.
type hooked struct {
	publish.Cloud
	calls int
	at    int
	what  func()
	dead  bool // the process is killed then
	after bool // after the call has taken effect
}

var errKilled = errors.New("killed")

func (h *hooked) next() bool { h.calls++; return h.calls == h.at }

// do makes a call.
func do[Out any](h *hooked, call func() (Out, error)) (out Out, err error) {
	hit := h.next()
	if hit && !h.after {
		h.what()
	}
	if h.dead {
		return out, errKilled
	}
	out, err = call()
	if hit && h.after {
		h.what()
	}
	if h.dead {
		err = errKilled
	}
	return out, err
}

func (h *hooked) SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error) {
	return do(h, func() ([]ec2ops.Snapshot, error) { return h.Cloud.SnapshotsTagged(ctx, key, value) })
}

func (h *hooked) Template(ctx context.Context, name string, wait time.Duration) (ec2ops.Template, error) {
	return do(h, func() (ec2ops.Template, error) { return h.Cloud.Template(ctx, name, wait) })
}

func (h *hooked) TemplateVersions(ctx context.Context, id string) ([]ec2ops.TemplateVersion, error) {
	return do(h, func() ([]ec2ops.TemplateVersion, error) { return h.Cloud.TemplateVersions(ctx, id) })
}

func (h *hooked) CreateTemplateVersion(ctx context.Context, s ec2ops.TemplateSpec) (v ec2ops.TemplateVersion, warning, err error) {
	v, err = do(h, func() (ec2ops.TemplateVersion, error) {
		v, warning, err = h.Cloud.CreateTemplateVersion(ctx, s)
		return v, err
	})
	return v, warning, err
}

func (h *hooked) SetDefaultVersion(ctx context.Context, id string, number int64) error {
	_, err := do(h, func() (any, error) { return nil, h.Cloud.SetDefaultVersion(ctx, id, number) })
	return err
}

func (h *hooked) DeleteTemplateVersions(ctx context.Context, id string, numbers []int64) error {
	_, err := do(h, func() (any, error) { return nil, h.Cloud.DeleteTemplateVersions(ctx, id, numbers) })
	return err
}

func (h *hooked) TemplateGroups(ctx context.Context) ([]ec2ops.TemplateGroup, error) {
	return do(h, func() ([]ec2ops.TemplateGroup, error) { return h.Cloud.TemplateGroups(ctx) })
}

// TestKilled: killed before or after any call, the next run ends as if nothing had happened.
func TestKilled(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, over := 1, false; !over; at++ {
			in(t, func(t *testing.T) {
				s := newScene(t, ec2test.Options{})
				for range 2 {
					s.snapshot("codepen-app")
					s.publish()
				}
				newest := s.snapshot("codepen-app")
				s.o.Keep = 1
				h := &hooked{Cloud: s.client, at: at, after: after}
				h.what = func() { h.dead = true }
				_, err := publish.Publish(t.Context(), h, s.src, "web", s.o)
				if over = h.calls < at; over {
					if err != nil || at < 10 {
						t.Errorf("%d calls, %v", h.calls, err)
					}
					return
				}
				out := s.publish()
				if s.template().Default != 4 || out.Version != 4 || s.entry("/dev/sdf").SnapshotID != newest || s.template().Last != 4 {
					t.Errorf("killed at call %d, after it %v: %+v, %+v", at, after, out, s.template())
				}
			})
		}
	}
}

// TestLeftOver: what a publication has left above the default version goes, since groups with $Latest
// use it; what another one has just made stays.
func TestLeftOver(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		old := s.snapshot("codepen-app")
		s.snapshot("codepen-app")
		s.publish()
		data := handMade()
		data.Mappings = append(data.Mappings, ec2test.TemplateMapping{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{SnapshotID: old}})
		left := s.cloud.AddTemplateVersion(s.id, "snapsource codepen-app "+old, data)
		if out := s.publish(); len(out.Deleted) > 0 || s.template().Versions[left] == nil {
			t.Errorf("at once: %+v", out)
		}
		time.Sleep(2 * time.Minute)
		if out := s.publish(); !slices.Equal(out.Deleted, []int64{left}) || !out.Changed || s.template().Versions[left] != nil || s.template().Default != 2 {
			t.Errorf("%+v", out)
		}
	})
}

// TestDeletedMeanwhile: the version that a client token stands for is deleted.
func TestDeletedMeanwhile(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		newest := s.snapshot("codepen-app")
		h := &hooked{Cloud: s.client, at: 6} // SetDefaultVersion
		h.what = func() { h.dead = true }
		if _, err := publish.Publish(t.Context(), h, s.src, "web", s.o); !errors.Is(err, errKilled) || s.template().Default != 1 {
			t.Fatalf("%v", err)
		}
		if err := s.client.DeleteTemplateVersions(t.Context(), s.id, []int64{2}); err != nil {
			t.Fatal(err)
		}
		if out := s.publish(); out.Version != 3 || s.template().Default != 3 || s.entry("/dev/sdf").SnapshotID != newest {
			t.Errorf("%+v", out)
		}
	})
}

// TestTogether: another publication runs at any moment of one. In the end the default version has
// the newest snapshot of both sources, and so has what groups with $Latest use.
func TestTogether(t *testing.T) {
	for _, other := range []string{"codepen-app", "assets", "codepen-app, slowly", "assets, slowly"} {
		other, slowly := strings.CutSuffix(other, ", slowly")
		for at, over := 1, false; !over; at++ {
			in(t, func(t *testing.T) {
				s := newScene(t, ec2test.Options{})
				assets := s.src
				assets.Name, assets.Device = "assets", "/dev/sdh"
				s.snapshot("assets")
				if _, err := publish.Publish(t.Context(), s.client, assets, "web", s.o); err != nil {
					t.Fatal(err)
				}
				s.snapshot("codepen-app")
				h := &hooked{Cloud: s.client, at: at}
				h.what = func() {
					if s.snapshotNow(other); slowly {
						time.Sleep(time.Minute)
					}
					src := map[string]config.Source{"codepen-app": s.src, "assets": assets}[other]
					if _, err := publish.Publish(t.Context(), s.client, src, "web", s.o); err != nil {
						t.Error(err)
					}
				}
				if _, err := publish.Publish(t.Context(), h, s.src, "web", s.o); err != nil {
					t.Errorf("at call %d: %v", at, err)
				}
				over = h.calls < at
				s.checkNewest(fmt.Sprintf("%s at call %d", other, at))
			})
		}
	}
}

// TestConcurrently: two or three publications whose calls alternate by chance.
func TestConcurrently(t *testing.T) {
	for seed := range uint64(40) {
		in(t, func(t *testing.T) {
			s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed + 1})
			assets := s.src
			assets.Name, assets.Device = "assets", "/dev/sdh"
			s.snapshot("assets")
			s.snapshot("codepen-app")
			done := make(chan error)
			for n, src := range []config.Source{s.src, assets, s.src} {
				client := s.cloud.Start(fmt.Sprint("ops", n)).Agent().Client
				go func() {
					if n == 2 {
						time.Sleep(time.Duration(1+seed*20) * time.Millisecond)
						s.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
					}
					_, err := publish.Publish(t.Context(), client, src, "web", s.o)
					done <- err
				}()
			}
			for range 3 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			s.checkNewest(fmt.Sprint("seed ", seed))
		})
	}
}

// checkNewest checks that launches get the newest snapshot of both sources.
func (s *scene) checkNewest(what string) {
	s.t.Helper()
	newest := map[string]*ec2test.Snapshot{}
	for _, snap := range s.cloud.World().Snapshots {
		if n := newest[snap.Tags["Name"]]; n == nil || snap.Started.After(n.Started) {
			newest[snap.Tags["Name"]] = snap
		}
	}
	t := s.template()
	for name, number := range map[string]int64{"default": t.Default, "latest": slices.Max(slices.Collect(maps.Keys(t.Versions)))} {
		got := map[string]string{}
		for _, m := range t.Versions[number].Data.Mappings {
			if m.EBS != nil {
				got[m.Device] = m.EBS.SnapshotID
			}
		}
		if got["/dev/sdf"] != newest["codepen-app"].ID || got["/dev/sdh"] != newest["assets"].ID {
			s.t.Errorf("%s: the %s version %d has %v, newest are %s and %s", what, name, number, got, newest["codepen-app"].ID, newest["assets"].ID)
		}
	}
}
