package ec2test_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"snapsource/ec2ops/ec2test"
)

// awsOf returns a function that runs an aws command of any service on an instance.
func awsOf(t *testing.T, host *ec2test.Host) func(line string) string {
	environment := append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}, host.Env()...)
	return func(line string) string {
		args := append([]string{"--endpoint-url", host.EC2URL, "--output", "text"}, strings.Fields(line)...)
		cmd := exec.CommandContext(t.Context(), cli, args...)
		cmd.Env = environment
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "failed: " + string(out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
}

// TestCLIOfTemplates is the work with launch templates that an operator pastes.
func TestCLIOfTemplates(t *testing.T) {
	if _, err := os.Stat(cli); err != nil {
		t.Skipf("needs Debian's awscli: %v", err)
	}
	fake := ec2test.New(t, ec2test.Options{})
	aws := awsOf(t, fake.Launch("operator-host"))
	want := func(line, want string) {
		t.Helper()
		if got := aws(line); got != want {
			t.Errorf("aws %s: got %q, want %q", line, got, want)
		}
	}
	snap := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
	next := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
	mapping := func(snap string) string {
		return `"BlockDeviceMappings":[{"DeviceName":"/dev/sdf","Ebs":{"SnapshotId":"` + snap + `","VolumeType":"gp3","DeleteOnTermination":true}}]`
	}
	id := aws(`ec2 create-launch-template --launch-template-name web --tag-specifications ResourceType=launch-template,Tags=[{Key=team,Value=a}] ` +
		`--launch-template-data {"ImageId":"` + image + `","InstanceType":"t3.small",` + mapping(snap) +
		`,"TagSpecifications":[{"ResourceType":"volume","Tags":[{"Key":"Name","Value":"app"}]},{"ResourceType":"instance","Tags":[{"Key":"Name","Value":"one"}]}]} ` +
		`--query LaunchTemplate.LaunchTemplateId`)
	want("ec2 create-launch-template-version --launch-template-name web --source-version 1 --version-description release-2 --launch-template-data {"+mapping(next)+"} "+
		"--query LaunchTemplateVersion.[VersionNumber,DefaultVersion,LaunchTemplateData.InstanceType,LaunchTemplateData.BlockDeviceMappings[0].Ebs.SnapshotId]", "2 False t3.small "+next)
	want("ec2 describe-launch-template-versions --launch-template-name web --versions $Latest --query LaunchTemplateVersions[].[VersionNumber,VersionDescription]", "2 release-2")
	want("ec2 modify-launch-template --launch-template-id "+id+" --default-version 2 --query LaunchTemplate.[DefaultVersionNumber,LatestVersionNumber]", "2 2")
	want("ec2 describe-launch-templates --filters Name=tag:team,Values=a --query LaunchTemplates[].[LaunchTemplateId,DefaultVersionNumber]", id+" 2")

	instance := aws("ec2 run-instances --launch-template LaunchTemplateName=web,Version=1 --query Instances[0].InstanceId")
	attached := func(instance string) string {
		return "ec2 describe-volumes --filters Name=attachment.instance-id,Values=" + instance + " Name=attachment.device,Values=/dev/sdf " +
			"--query Volumes[].[SnapshotId,Size,State,Attachments[0].DeleteOnTermination,Tags[?Key==`Name`].Value|[0]]"
	}
	want(attached(instance), snap+" 5 in-use True app")
	instance = aws("ec2 run-instances --launch-template LaunchTemplateId=" + id + " --count 1 --user-data IyEvYmluL3No --instance-type t3.large " +
		"--block-device-mappings DeviceName=/dev/sdf,Ebs={VolumeSize=6} --query Instances[0].InstanceId")
	want(attached(instance), next+" 6 in-use True app")

	want("autoscaling create-auto-scaling-group --auto-scaling-group-name group --min-size 1 --max-size 1 --launch-template LaunchTemplateName=web,Version=$Latest --availability-zones us-west-2c", "")
	instance = aws("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[0].Instances[0].InstanceId")
	want(attached(instance), next+" 5 in-use True app")
	want("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[0].[LaunchTemplate.Version,Instances[0].LaunchTemplate.Version]", "$Latest 2")

	want("ec2 delete-launch-template-versions --launch-template-name web --versions 1 2 "+
		"--query [SuccessfullyDeletedLaunchTemplateVersions[].VersionNumber,UnsuccessfullyDeletedLaunchTemplateVersions[].[VersionNumber,ResponseError.Code]]", "1 2 unexpectedError")
	want("ec2 delete-launch-template --launch-template-name web --query LaunchTemplate.LaunchTemplateId", id)
	if got := aws("ec2 run-instances --launch-template LaunchTemplateName=web"); !strings.Contains(got, "(InvalidLaunchTemplateName.NotFoundException)") {
		t.Errorf("from a deleted template: %s", got)
	}
}
