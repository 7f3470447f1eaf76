package publish_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/agent/failure"
	"snapsource/agent/publish"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// refused are the cases that publish refuses, with what it says.
var refused = map[string]struct {
	prepare func(s *scene)
	code    int
	says    string
}{
	"no snapshot":       {func(s *scene) { s.src.Name = "nothing" }, failure.ExitNoSnapshot, "no snapshot with the tag Name=nothing"},
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
	"another entry's snapshot is deleted": {func(s *scene) {
		data := handMade()
		data.Mappings = append(data.Mappings, ec2test.TemplateMapping{Device: "/dev/sdh", EBS: &ec2test.TemplateEBS{SnapshotID: "snap-0123456789abcdef0"}})
		s.setData(data)
	}, failure.ExitUsage, "The snapshot 'snap-0123456789abcdef0' does not exist"},
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
