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
