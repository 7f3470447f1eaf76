package ec2test_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"snapsource/ec2ops/ec2test"
)

// cli is the AWS CLI as Debian has it: a client that nobody here wrote, and old
// enough not to read AWS_ENDPOINT_URL.
const cli = "/usr/bin/aws"

// TestCLI runs every action that the project uses, as one session on an
// instance, with credentials from the metadata service.
func TestCLI(t *testing.T) {
	if _, err := os.Stat(cli); err != nil {
		t.Skipf("needs Debian's awscli: %v", err)
	}
	fake := ec2test.New(t, ec2test.Options{})
	web := fake.Launch("web-1")
	aws := awsEC2(t, web)
	must := func(line string) string {
		t.Helper()
		out, err := aws(line)
		if err != nil {
			t.Fatalf("aws ec2 %s: %v\n%s", line, err, out)
		}
		return out
	}
	want := func(line, want string) {
		t.Helper()
		if got := must(line); got != want {
			t.Errorf("aws ec2 %s: got %q, want %q", line, got, want)
		}
	}

	v := must("create-volume --availability-zone us-west-2c --size 5 --volume-type gp3 --client-token one --query VolumeId " +
		"--tag-specifications ResourceType=volume,Tags=[{Key=Name,Value=codepen-app}]")
	must("wait volume-available --volume-ids " + v)
	want("describe-volumes --filters Name=tag:Name,Values=codepen-* Name=status,Values=available --query Volumes[].[VolumeId,Size,VolumeType,Iops,Throughput]",
		v+" 5 gp3 3000 125")
	want("attach-volume --volume-id "+v+" --instance-id "+web.ID+" --device /dev/sdf --query State", "attaching")
	want("describe-volumes --volume-ids "+v+" --query Volumes[0].[State,Attachments[0].State,Attachments[0].InstanceId]", "in-use attached "+web.ID)
	must("modify-instance-attribute --instance-id " + web.ID + " --block-device-mappings DeviceName=/dev/sdf,Ebs={DeleteOnTermination=true}")
	want("describe-instances --filters Name=tag:Name,Values=web-1 Name=instance-state-name,Values=running "+
		"--query Reservations[].Instances[].[InstanceId,PrivateIpAddress,BlockDeviceMappings[?DeviceName==`/dev/sdf`].Ebs.DeleteOnTermination|[0]]",
		web.ID+" "+web.PrivateIP+" True")
	snap := must("create-snapshot --volume-id " + v + " --tag-specifications ResourceType=snapshot,Tags=[{Key=Name,Value=codepen-app}] --query SnapshotId")
	want("describe-snapshots --owner-ids self --filters Name=tag:Name,Values=codepen-app Name=status,Values=completed --query Snapshots[].[SnapshotId,Progress]",
		snap+" 100%")
	must("create-tags --resources " + snap + " --tags Key=release,Value=7")
	want("describe-tags --filters Name=resource-id,Values="+snap+" --query Tags[].Value", "codepen-app 7")
	want("get-console-output --latest --instance-id "+web.ID+" --query Output", "ec2test: this instance has no console; what a command prints is where it was started")
	want("detach-volume --volume-id "+v+" --query State", "detaching")
	must("delete-volume --volume-id " + v)
	must("delete-snapshot --snapshot-id " + snap)

	if out, err := aws("delete-volume --volume-id " + v); err == nil || !strings.Contains(out, "(InvalidVolume.NotFound)") {
		t.Errorf("a second delete-volume: got %q (%v), want InvalidVolume.NotFound", out, err)
	}
	for range 12 {
		fake.AddSnapshot(ec2test.Snapshot{})
	}
	want("describe-snapshots --owner-ids self --page-size 5 --query length(Snapshots)", "5 5 2")

	for _, c := range fake.Calls() {
		if c.Caller != "web-1" {
			t.Errorf("%s was recorded as called by %q", c.Action, c.Caller)
		}
	}
}

// awsEC2 returns a function that runs an aws ec2 command on an instance.
func awsEC2(t *testing.T, web *ec2test.Host) func(line string) (string, error) {
	environment := append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}, web.Env()...)
	return func(line string) (string, error) {
		args := append([]string{"--endpoint-url", web.EC2URL, "--output", "text", "ec2"}, strings.Fields(line)...)
		cmd := exec.CommandContext(t.Context(), cli, args...)
		cmd.Env = environment
		out, err := cmd.CombinedOutput()
		return strings.Join(strings.Fields(string(out)), " "), err
	}
}

// TestCLIOfGroups runs the actions of Auto Scaling that an operator pastes.
func TestCLIOfGroups(t *testing.T) {
	if _, err := os.Stat(cli); err != nil {
		t.Skipf("needs Debian's awscli: %v", err)
	}
	fake := ec2test.New(t, ec2test.Options{})
	here := fake.Launch("operator-host")
	aws := func(line string) string {
		t.Helper()
		args := append([]string{"--endpoint-url", here.EC2URL, "--output", "text", "autoscaling"}, strings.Fields(line)...)
		cmd := exec.CommandContext(t.Context(), cli, args...)
		cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}, here.Env()...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "failed: " + string(out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	want := func(line, want string) {
		t.Helper()
		if got := aws(line); got != want {
			t.Errorf("aws autoscaling %s: got %q, want %q", line, got, want)
		}
	}
	want("create-auto-scaling-group --auto-scaling-group-name web --min-size 0 --max-size 3 --launch-template LaunchTemplateName=web,Version=1 --availability-zones us-west-2c", "")
	want("put-lifecycle-hook --auto-scaling-group-name web --lifecycle-hook-name launch --lifecycle-transition autoscaling:EC2_INSTANCE_LAUNCHING --heartbeat-timeout 300", "")
	want("describe-lifecycle-hooks --auto-scaling-group-name web --query LifecycleHooks[].[LifecycleHookName,HeartbeatTimeout,DefaultResult]", "launch 300 ABANDON")
	want("set-desired-capacity --auto-scaling-group-name web --desired-capacity 1", "")
	id := aws("describe-auto-scaling-groups --auto-scaling-group-names web --query AutoScalingGroups[0].Instances[0].InstanceId")
	want("describe-auto-scaling-instances --instance-ids "+id+" --query AutoScalingInstances[].[AutoScalingGroupName,LifecycleState]", "web Pending:Wait")
	about := "--auto-scaling-group-name web --lifecycle-hook-name launch --instance-id " + id
	want("record-lifecycle-action-heartbeat "+about, "")
	want("complete-lifecycle-action --lifecycle-action-result CONTINUE "+about, "")
	want("describe-auto-scaling-instances --instance-ids "+id+" --query AutoScalingInstances[].LifecycleState", "InService")
	if got := aws("record-lifecycle-action-heartbeat " + about); !strings.Contains(got, "(ValidationError)") || !strings.Contains(got, "No active Lifecycle Action found with instance ID "+id) {
		t.Errorf("a heartbeat of an instance in service: %s", got)
	}
	want("put-warm-pool --auto-scaling-group-name web --min-size 1 --max-group-prepared-capacity 2 --pool-state Stopped", "")
	want("describe-warm-pool --auto-scaling-group-name web --query [WarmPoolConfiguration.PoolState,Instances[0].LifecycleState]", "Stopped Warmed:Pending:Wait")
	want("delete-auto-scaling-group --auto-scaling-group-name web --force-delete", "")
	want("describe-auto-scaling-groups --query length(AutoScalingGroups)", "0")
}
