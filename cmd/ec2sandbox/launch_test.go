//go:build linux

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLaunchedVolumes: the volumes of a launch's mapping have devices with the snapshot's data
// before the command of the instance starts, also on an instance of a group.
func TestLaunchedVolumes(t *testing.T) {
	needDebianCLI(t)
	s := newSandbox(t)
	s.must("admin", "true")
	volume := s.attach("admin", "")
	s.must("admin", "printf release >"+byID(volume)+"; sync")
	snap := s.snapshot(volume)
	s.must("admin", `
aws ec2 create-launch-template --launch-template-name app --launch-template-data '{
  "ImageId": "ami-0123456789abcdef0", "BlockDeviceMappings": [
    {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "`+snap+`", "VolumeType": "gp3"}},
    {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 2}}],
  "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "app"}]}]}'
aws ec2 run-instances --launch-template LaunchTemplateName=app
aws autoscaling create-auto-scaling-group --auto-scaling-group-name web --min-size 1 --max-size 1 \
  --launch-template LaunchTemplateName=app --availability-zones us-west-2c`)
	for _, name := range []string{"app", "web-1"} {
		// The first thing that the command does: nothing waits for the devices.
		out := s.must(name, `for link in /dev/disk/by-id/*_1; do echo $(blockdev --getsize64 $link) $(head -c 7 $link | tr -d '\0'); done | sort`)
		if want := "1073741824 release\n2147483648\n"; out != want {
			t.Errorf("%s: got %q, want %q", name, out, want)
		}
	}
	s.must("admin", "aws autoscaling delete-auto-scaling-group --auto-scaling-group-name web --force-delete")
	if out, err := s.command("terminate", "--state", s.dir, "app").CombinedOutput(); err != nil {
		t.Fatalf("terminate app: %v\n%s", err, out)
	}
	images, err := filepath.Glob(filepath.Join(s.dir, "volumes", "*.img"))
	if err != nil || len(images) != 1 || !strings.Contains(images[0], volume) {
		t.Errorf("left after the terminations: %v (%v)", images, err)
	}
}
