//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

// waitingGroup is shell that makes a group of at most so many instances, with a launch
// hook that it waits for.
func waitingGroup(most int) string {
	return fmt.Sprintf(`
aws autoscaling create-auto-scaling-group --auto-scaling-group-name web --min-size 0 --max-size %d \
	--launch-template LaunchTemplateName=web --availability-zones us-west-2c
aws autoscaling put-lifecycle-hook --auto-scaling-group-name web --lifecycle-hook-name launch \
	--lifecycle-transition autoscaling:EC2_INSTANCE_LAUNCHING --heartbeat-timeout 300`, most)
}

// TestUpInGroup: an instance that an Auto Scaling group launched enters service once its
// Source is there, and one that can't have it is replaced.
func TestUpInGroup(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("web-0", waitingGroup(3)+`
# Its name is one that an instance has: the group takes the next.
aws autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 1`)
	const member = "web-2" // web-1 has deployed
	const state = `
aws autoscaling describe-auto-scaling-instances --query 'AutoScalingInstances[].LifecycleState' --output text`
	out := s.run(member, state+"\nsnapsource up --lifecycle-hook launch --role app\ncat /home/deploy/codepen/RELEASE"+state)
	for _, want := range []string{"Pending:Wait\n", ", web: Pending:Wait", "roles app", "release 1\nInService\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	first := len(s.calls(member))
	if out := s.run(member, "snapsource up --lifecycle-hook launch --role app"); !strings.Contains(out, "web: InService") {
		t.Errorf("after a reboot it says\n%s", out)
	}
	for _, c := range s.calls(member)[first:] {
		if c.Mutating() && c.Action != "DeleteTags" && c.Action != "CreateTags" { // the role, until it is mounted
			t.Errorf("after a reboot it calls %s", c.Action)
		}
	}

	s.run("web-0", "aws autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 2")
	before := len(s.volumes("codepen-app"))
	s.try("web-3", "snapsource up --lifecycle-hook launch --role app", "--deny=ModifyInstanceAttribute")
	out = s.run("web-0", `
aws autoscaling describe-auto-scaling-instances --query 'AutoScalingInstances[].LifecycleState' --output text
aws autoscaling describe-scaling-activities --auto-scaling-group-name web --query 'Activities[].StatusCode' --output text`)
	if !strings.Contains(out, "Pending:Wait") || !strings.Contains(out, "Cancelled") || !strings.Contains(out, "InService") {
		t.Errorf("the group is\n%s\nwant one in service, one launch cancelled, and the next waiting", out)
	}
	if after := len(s.volumes("codepen-app")); after != before {
		t.Errorf("%d volumes before, %d after the launch that was abandoned", before, after)
	}
	if instanceID(s, "web-4") == "" {
		t.Error("no web-4 was launched")
	}
}

// TestWarmPool: an instance that a warm pool has stopped boots with the release that was
// deployed meanwhile.
func TestWarmPool(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("web-0", waitingGroup(1)+`
aws autoscaling put-warm-pool --auto-scaling-group-name web --pool-state Stopped`)
	const up = "snapsource up --lifecycle-hook launch --role app"
	out, code := s.try("web-2", up+"\nsleep 60") // it is stopped as soon as it is let in
	if code == 0 || !strings.Contains(out, "web-2: the instance was stopped") {
		t.Errorf("exit code %d\n%s\nwant it to be stopped", code, out)
	}
	if out, code := s.try("web-2", up); code != 64 || !strings.Contains(out, "web-2 is stopped") {
		t.Errorf("a stopped instance: exit code %d\n%s", code, out)
	}
	s.run("web-1", "snapsource up\necho 'release 2' >/home/deploy/codepen/RELEASE\nsnapsource snapshot --wait >/dev/null")
	before := len(s.volumes("codepen-app"))
	s.run("web-0", "aws autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 1")
	out = s.run("web-2", up+`
cat /home/deploy/codepen/RELEASE
aws autoscaling describe-auto-scaling-instances --query 'AutoScalingInstances[].LifecycleState' --output text`)
	if !strings.HasSuffix(out, "release 2\nInService\n") || !strings.Contains(out, "roles app") {
		t.Errorf("in service it says\n%s", out)
	}
	if after := len(s.volumes("codepen-app")); after != before {
		t.Errorf("%d volumes before, %d after", before, after)
	}
}
