//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// copy is a sandbox with the same state, for a test of its own.
func (s *sandbox) copy(t *testing.T) *sandbox {
	t.Helper()
	copied := &sandbox{t: t, dir: t.TempDir(), program: s.program}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", "--sparse=always", s.dir+"/.", copied.dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the sandbox: %v\n%s", err, out)
	}
	return copied
}

// loops returns the loop devices of this sandbox's images.
func (s *sandbox) loops() []string {
	s.t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		s.t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if image, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(image), s.dir+"/") {
			found = append(found, strings.Split(file, "/")[3])
		}
	}
	return found
}

func (s *sandbox) roles(instance string) (roles string) {
	s.t.Helper()
	s.change(func(w *ec2test.World) { roles = w.Live(instance, time.Now()).Tags["Roles"] })
	return roles
}

func hasRole(s *sandbox, instance string) error {
	if r := s.roles(instance); r != "app" {
		return fmt.Errorf("its roles are %q, want app", r)
	}
	return nil
}

func hasNoRole(s *sandbox, instance string) error {
	if r := s.roles(instance); r != "" {
		return fmt.Errorf("it has the roles %q still", r)
	}
	return nil
}

// oldAndOrphaned returns a source of the instance's name four snapshots and a volume of
// an instance that is gone.
func oldAndOrphaned(s *sandbox, source string) {
	s.t.Helper()
	s.change(func(w *ec2test.World) {
		for n := range 4 {
			id := fmt.Sprintf("snap-%s-%d", source, n)
			at := time.Now().Add(-time.Duration(n) * time.Hour)
			w.Snapshots[id] = &ec2test.Snapshot{ID: id, Owner: ec2test.DefaultAccount, Tier: "standard", Size: 1,
				Started: at, Completed: at, Tags: ec2test.Tags{"Name": source}}
		}
		id := "vol-" + source
		at := time.Now().Add(-time.Hour)
		w.Volumes[id] = &ec2test.Volume{ID: id, Zone: ec2test.DefaultZone, Type: "gp3", Size: 1, Created: at, Available: at,
			Tags: ec2test.Tags{"snapsource:source": source, "snapsource:instance": "i-00000000000000000"}}
	})
}

// twoVersions returns a source of the instance's name two snapshots, and a launch template of that
// name with a version of ours for the older one.
func twoVersions(s *sandbox, name string) {
	s.t.Helper()
	s.change(func(w *ec2test.World) {
		t := &ec2test.Template{ID: fmt.Sprintf("lt-%017x", len(w.Templates)+1), Name: name, Default: 3, Last: 3, Tags: ec2test.Tags{}, Versions: map[int64]*ec2test.TemplateVersion{}}
		for n := range 2 {
			id, at := fmt.Sprintf("snap-%s-%d", name, n), time.Now().Add(-time.Duration(n)*time.Hour)
			w.Snapshots[id] = &ec2test.Snapshot{ID: id, Owner: ec2test.DefaultAccount, Tier: "standard", Size: 1, Started: at, Completed: at, Tags: ec2test.Tags{"Name": name}}
		}
		for n := int64(1); n <= 3; n++ {
			old := "snap-" + name + "-1"
			v := &ec2test.TemplateVersion{Number: n, Created: time.Now().Add(-time.Hour), Data: ec2test.TemplateData{ImageID: "ami-0123456789abcdef0"}}
			if n > 1 {
				v.Description = "snapsource " + name + " " + old
				v.Data.Mappings = []ec2test.TemplateMapping{{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{SnapshotID: old}}}
			}
			t.Versions[n] = v
		}
		w.Templates[t.ID] = t
	})
}

func isPublished(s *sandbox, name string) (err error) {
	s.change(func(w *ec2test.World) {
		for _, t := range w.Templates {
			if t.Name != name {
				continue
			}
			mappings := t.Versions[t.Default].Data.Mappings
			if len(mappings) != 1 || mappings[0].EBS.SnapshotID != "snap-"+name+"-0" || t.Default != 4 || len(t.Versions) > 4 || t.Versions[1] == nil {
				err = fmt.Errorf("the default version is %d of %d, with %+v", t.Default, len(t.Versions), mappings)
			}
		}
	})
	return err
}

func isPruned(s *sandbox, source string) error {
	var left []string
	s.change(func(w *ec2test.World) {
		for id, snap := range w.Snapshots {
			if snap.Tags["Name"] == source && snap.State(time.Now()) != "" {
				left = append(left, id)
			}
		}
	})
	for _, v := range s.volumes(source) {
		left = append(left, v.ID)
	}
	if want := "snap-" + source + "-0"; len(left) != 1 || left[0] != want {
		return fmt.Errorf("left are %v, want %s", left, want)
	}
	return nil
}

// newTemplate makes a launch template that names the release.
const newTemplate = `
snapshot=$(aws ec2 describe-snapshots --filters Name=tag:Name,Values=codepen-app --query 'Snapshots[0].SnapshotId' --output text)
aws ec2 create-launch-template --launch-template-name web --launch-template-data '{"ImageId": "ami-0123456789abcdef0",
  "BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "'$snapshot'", "VolumeType": "gp3"}}],
  "TagSpecifications": [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "codepen-app"},
    {"Key": "snapsource:source", "Value": "codepen-app"}, {"Key": "snapsource:snapshot", "Value": "'$snapshot'"}]}]}' >/dev/null
`

// tookArrival says that the Source is on the volume that came with the launch.
func tookArrival(s *sandbox, instance string) error {
	for _, call := range s.calls(instance) {
		if call.Action == "CreateVolume" || call.Action == "AttachVolume" || call.Action == "DetachVolume" {
			return fmt.Errorf("it calls %s", call.Action)
		}
	}
	return hasRole(s, instance)
}

// replacedArrival says that the Source is from the newest release, and not on the volume that came
// with the launch.
func replacedArrival(s *sandbox, instance string) error {
	newest, from := ec2test.Snapshot{}, ""
	me := instanceID(s, instance)
	s.change(func(w *ec2test.World) {
		for _, snap := range w.Snapshots {
			if snap.Tags["Name"] == "codepen-app" && snap.Started.After(newest.Started) {
				newest = *snap
			}
		}
		for _, v := range w.Volumes {
			if v.Tags["snapsource:instance"] == me && v.State(time.Now()) == "in-use" {
				from = v.SnapshotID
			}
		}
	})
	if from != newest.ID {
		return fmt.Errorf("the Source is from %s, want %s", from, newest.ID)
	}
	return hasRole(s, instance)
}
