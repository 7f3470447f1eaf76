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

// createTemplate is a script that creates a launch template with a block device mapping.
func createTemplate(name, image, mapping string) string {
	return `aws ec2 create-launch-template --launch-template-name ` + name + ` --query LaunchTemplate.LaunchTemplateId --output text \
  --launch-template-data '{"ImageId": "` + image + `", "BlockDeviceMappings": [` + mapping + `],
  "TagSpecifications": [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "codepen-app"}]}]}'
`
}

// mappedNames is a script that prints the metadata's block device mapping, and what is linked.
const mappedNames = `
url=${AWS_EC2_METADATA_SERVICE_ENDPOINT}latest
token=$(curl -sfX PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" $url/api/token)
for n in $(curl -sf -H "X-aws-ec2-metadata-token: $token" $url/meta-data/block-device-mapping/ | grep ebs); do
  printf '%s=%s ' $n $(curl -sf -H "X-aws-ec2-metadata-token: $token" $url/meta-data/block-device-mapping/$n)
done
ls /dev/disk/by-id 2>/dev/null | grep -c '_1$' || :
`

// TestRunFromTemplate: run launches a new instance from a launch template of the state, once.
func TestRunFromTemplate(t *testing.T) {
	needDebianCLI(t)
	needProgram(t, "curl")
	s := newSandbox(t)
	s.must("admin", "true")
	volume := s.attach("admin", "")
	s.must("admin", "printf release >"+byID(volume)+"; sync")
	mapping := `{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "` + s.snapshot(volume) + `", "VolumeType": "gp3", "DeleteOnTermination": false}}`
	s.must("admin", createTemplate("app", "ami-0123456789abcdef0", mapping)+createTemplate("other", "ami-0123456789abcdef0", "")+`
aws ec2 create-launch-template-version --launch-template-name app --launch-template-data '{"ImageId": "ami-0123456789abcdef0"}'
aws ec2 create-launch-template-version --launch-template-name app --launch-template-data '{"InstanceType": "t3.small"}'
aws ec2 create-launch-template-version --launch-template-name app --launch-template-data \
  '{"ImageId": "ami-0123456789abcdef0", "BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]}'`)
	from := func(template string) []string { return []string{"--launch-template", template} }
	for template, want := range map[string]string{
		"none": "InvalidLaunchTemplateName.NotFoundException", "app:9": "InvalidLaunchTemplateId.VersionNotFound",
		"app:new": "InvalidParameterValue", "app:3": "ImageId", "app:$Latest": "InvalidSnapshot.NotFound",
	} {
		if out, code := s.run("bad", "true", from(template)...); code != exitUsage || !strings.Contains(out, want) || !strings.Contains(out, template) {
			t.Errorf("%s: exit code %d\n%s", template, code, out)
		}
	}
	if images, err := filepath.Glob(filepath.Join(s.dir, "volumes", "*.img")); err != nil || len(images) != 1 {
		t.Errorf("left after failed launches: %v (%v)", images, err)
	}
	if out := s.must("web", "head -c 7 /dev/disk/by-id/*_1 && echo two >/etc/boots\n"+mappedNames, from("app")...); out != "releaseebs1=sdf 1\n" {
		t.Errorf("got %q", out)
	}
	s.attachAs("web", "", "/dev/sdg")
	if out := s.must("web", "cat /etc/boots\n"+mappedNames, from("app:1")...); out != "two\nebs1=sdf 2\n" {
		t.Errorf("after a reboot: got %q", out)
	}
	for template, want := range map[string]string{"other": "not from other", "app:2": "from version 1", "none": "NotFoundException"} {
		if out, code := s.run("web", "true", from(template)...); code != exitUsage || !strings.Contains(out, want) {
			t.Errorf("web from %s: exit code %d\n%s", template, code, out)
		}
	}
	if out, code := s.run("admin", "true", from("app")...); code != exitUsage || !strings.Contains(out, "without a launch template") {
		t.Errorf("admin: exit code %d\n%s", code, out)
	}
	if out := s.must("plain", mappedNames, from("app:2")...); out != "0\n" {
		t.Errorf("from version 2: got %q", out)
	}
	live := s.start("web", "echo ready; read line || :", from("app")...)
	s.must("web", "true", from("app")...)
	if out, code := s.run("web", "true", from("other")...); code != exitUsage || !strings.Contains(out, "not from other") {
		t.Errorf("a join from other: exit code %d\n%s", code, out)
	}
	live.stdin.Close()
	_ = live.cmd.Wait()
	s.stopAndStart("web")
	if out := s.must("web", mappedNames); out != "ebs1=sdf ebs2=sdg 2\n" {
		t.Errorf("after a stop and a start: got %q", out)
	}
	if out, err := s.command("terminate", "--state", s.dir, "web").CombinedOutput(); err != nil {
		t.Fatalf("terminate web: %v\n%s", err, out)
	}
	kept := s.must("admin", "aws ec2 describe-volumes --filters Name=tag:Name,Values=codepen-app Name=status,Values=available --query 'length(Volumes)'")
	if kept != "1\n" {
		t.Errorf("%q volumes are kept", kept)
	}
}

// stopAndStart stops an instance and starts it again, without booting it.
func (s *sandbox) stopAndStart(name string) {
	s.t.Helper()
	for _, do := range []string{"stop", "start"} {
		if out, err := s.command(do, "--state", s.dir, name).CombinedOutput(); err != nil {
			s.t.Fatalf("%s %s: %v\n%s", do, name, err, out)
		}
	}
}

// TestRunFromImage: an image of an instance brings copies of its volumes, and a launch template
// overrides them by their names.
func TestRunFromImage(t *testing.T) {
	needDebianCLI(t)
	needProgram(t, "curl")
	s := newSandbox(t)
	s.must("web", "true")
	old := s.attachAs("web", "", "/dev/sdf")
	s.attachAs("web", "", "/dev/sdg")
	s.must("web", "printf 'old app' >"+byID(old)+"; sync")
	s.must("admin", "true")
	fresh := s.attachAs("admin", "", "/dev/sdf")
	s.must("admin", "printf 'new app' >"+byID(fresh)+"; sync")
	snap := s.snapshot(fresh)
	id := s.instanceID("web")
	out := s.must("admin", `
if aws ec2 create-image --instance-id `+id+` --name web-1 2>/tmp/refused; then exit 1; fi
grep -q UnsupportedOperation /tmp/refused
image=$(aws ec2 create-image --instance-id `+id+` --name web-1 --no-reboot --query ImageId --output text)
`+createTemplate("same", "'$image'", "")+createTemplate("override", "'$image'",
		`{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "`+snap+`"}}, {"DeviceName": "/dev/sdg", "NoDevice": ""}`)+`
aws ec2 describe-images --image-ids $image --query 'Images[].[State,BlockDeviceMappings[].DeviceName]' --output text | tr '\n' ' '
aws ec2 describe-snapshots --filters Name=description,Values="*$image*" --query 'Snapshots[].Tags[]'`)
	if !strings.Contains(out, "available /dev/xvda\t/dev/sdf\t/dev/sdg") || !strings.HasSuffix(out, "[]\n") {
		t.Errorf("the image: %q", out)
	}
	for template, want := range map[string]string{"same": "2 ebs1=sdf ebs2=sdg 2\nold app", "override": "1 ebs1=sdf 1\nnew app"} {
		out := s.must("from-"+template, `ls /dev/disk/by-id/*_1 | wc -l | tr '\n' ' '`+mappedNames+`
cat /dev/disk/by-id/*_1 | tr -d '\0'`, "--launch-template", template)
		if out != want {
			t.Errorf("%s: got %q, want %q", template, out, want)
		}
	}
}
