package ec2ops_test

import (
	"errors"
	"testing"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// TestLifecycle: an instance of a group gets its state, sends a heartbeat, and completes
// its hook. One that does not wait gets ErrNoAction.
func TestLifecycle(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	fake.AddGroup(ec2test.Group{Name: "web", Desired: 1, Hooks: map[string]ec2test.Hook{"launch": {Timeout: time.Minute}}})
	web := fake.Join("web-1")
	useEnv(t, web.Env())
	c, err := ec2ops.New(t.Context(), ec2ops.Options{UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	look := func(want ec2ops.Membership) {
		t.Helper()
		if m, err := c.MembershipOf(t.Context(), web.ID); err != nil || m != want {
			t.Errorf("got %+v, %v; want %+v", m, err, want)
		}
	}
	if target, err := c.TargetLifecycleState(t.Context()); err != nil || target != "InService" {
		t.Errorf("the target is %q, %v; want InService", target, err)
	}
	look(ec2ops.Membership{Group: "web", State: "Pending:Wait"})
	if err := c.RecordHeartbeat(t.Context(), "web", "launch", web.ID); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	if err := c.CompleteLifecycleAction(t.Context(), "web", "other", web.ID, ec2ops.Continue); !errors.Is(err, ec2ops.ErrNoAction) {
		t.Errorf("in another hook: %v, want no action", err)
	}
	if err := c.CompleteLifecycleAction(t.Context(), "web", "launch", web.ID, ec2ops.Continue); err != nil {
		t.Errorf("continue: %v", err)
	}
	look(ec2ops.Membership{Group: "web", State: "InService"})
	if err := c.RecordHeartbeat(t.Context(), "web", "launch", web.ID); !errors.Is(err, ec2ops.ErrNoAction) {
		t.Errorf("a heartbeat in service: %v, want no action", err)
	}
	if m, err := c.MembershipOf(t.Context(), "i-0123456789abcdef0"); err != nil || m != (ec2ops.Membership{}) {
		t.Errorf("of an instance in no group: %+v, %v", m, err)
	}
}

// TestInNoGroup: the metadata service of an instance in no group does not know the path.
func TestInNoGroup(t *testing.T) {
	c, _ := connect(t, ec2test.New(t, ec2test.Options{}))
	if target, err := c.TargetLifecycleState(t.Context()); err != nil || target != "" {
		t.Errorf("the target is %q, %v; want none", target, err)
	}
}
