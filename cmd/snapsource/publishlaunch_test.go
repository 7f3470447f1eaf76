//go:build linux

package main

import (
	"strings"
	"testing"
)

// TestPublishedLaunch: the AWS CLI makes a template, reads what snapshot --publish has made of it, and
// launches an instance from it, which has the volume of the newest snapshot.
func TestPublishedLaunch(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-1", `
aws ec2 create-launch-template --launch-template-name web --launch-template-data '{"ImageId":"ami-0123456789abcdef0","InstanceType":"m5.large",
"BlockDeviceMappings":[{"DeviceName":"/dev/xvda","Ebs":{"VolumeSize":20}},{"DeviceName":"/dev/sdg","Ebs":{"VolumeSize":3,"VolumeType":"gp3","DeleteOnTermination":false}},{"DeviceName":"/dev/sdc","NoDevice":""}],
"TagSpecifications":[{"ResourceType":"volume","Tags":[{"Key":"team","Value":"pens"}]},{"ResourceType":"instance","Tags":[{"Key":"team","Value":"pens"}]}]}' >/dev/null
snapsource up -q
echo 'release 2' >/home/deploy/codepen/RELEASE
snapsource snapshot --wait --publish --launch-template web
echo "--- template"
aws ec2 describe-launch-template-versions --launch-template-name web --versions '$Default' --output text --query 'LaunchTemplateVersions[0].[VersionNumber,VersionDescription,LaunchTemplateData.InstanceType]'
aws ec2 describe-launch-template-versions --launch-template-name web --versions '$Default' --output text --query 'LaunchTemplateVersions[0].LaunchTemplateData.BlockDeviceMappings[].[DeviceName,Ebs.SnapshotId,Ebs.VolumeSize,Ebs.DeleteOnTermination,NoDevice]'
aws ec2 describe-launch-template-versions --launch-template-name web --versions '$Default' --output text --query 'LaunchTemplateVersions[0].LaunchTemplateData.TagSpecifications[].Tags[].[Key,Value]'
echo "--- launch"
id=$(aws ec2 run-instances --launch-template LaunchTemplateName=web --query 'Instances[0].InstanceId' --output text)
aws ec2 describe-volumes --filters Name=attachment.instance-id,Values=$id Name=attachment.device,Values=/dev/sdf --output text --query 'Volumes[0].[SnapshotId,Attachments[0].DeleteOnTermination,Tags[?Key==`+"`snapsource:snapshot`"+`].Value|[0]]'
snapsource publish --launch-template web
`)
	_, taken, _ := strings.Cut(out, "  publish    web: version 2, made from version 1, names ")
	snap, _, _ := strings.Cut(taken, " ")
	contains(t, strings.ReplaceAll(out, "\t", " "),
		"--- template\n2 snapsource codepen-app "+snap+" m5.large\n/dev/xvda None 20 None None\n/dev/sdg None 3 False None\n/dev/sdc None None None \n/dev/sdf "+snap+" 5 True None\n",
		"Name codepen-app\nsnapsource:snapshot "+snap+"\nsnapsource:source codepen-app\nteam pens\nteam pens\n",
		"--- launch\n"+snap+" True "+snap+"\n", "web: version 2, the default, names "+snap+" already\n")
	if !strings.HasPrefix(snap, "snap-") {
		t.Errorf("the snapshot is %q", snap)
	}
	// The snapshot stays, and the message says what remains.
	out, code := s.try("web-1", "snapsource up -q; sleep 1; snapsource snapshot --wait --publish --launch-template nosuch")
	if code != 64 {
		t.Errorf("exit code %d", code)
	}
	contains(t, out, "is eligible, but not published: there is no launch template nosuch", "then run snapsource publish --launch-template nosuch --source codepen-app")
}
