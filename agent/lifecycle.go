package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"snapsource/ec2ops"
)

const (
	// heartbeatEvery keeps a lifecycle action from timing out while a run is at work:
	// the shortest timeout of a hook is 30 s. (PutLifecycleHook, API reference)
	heartbeatEvery = 15 * time.Second

	// hookWithin is how long a hook may take to keep the instance waiting: it may be
	// up before its Auto Scaling group has noticed.
	hookWithin = 30 * time.Second

	// hookPoll is the pause between two looks at that.
	hookPoll = 2 * time.Second

	// abandonWithin bounds the call that gives up a launch.
	abandonWithin = 30 * time.Second
)

// hookNames are those that Auto Scaling takes, if they are no longer than hookNameMax.
// (PutLifecycleHook, API reference)
var hookNames = regexp.MustCompile(`^[A-Za-z0-9/_-]+$`)

const hookNameMax = 255

// entrance is an instance's way into the service, or into the warm pool, of its Auto
// Scaling group, as far as one run goes it.
type entrance struct {
	hook string // "": none is configured
	ec2ops.Membership

	looked bool
	over   bool // the action is completed
}

// underWay says whether the instance is still to be let in.
func (e *entrance) underWay() bool {
	return e.hook != "" && !e.over && strings.Contains(e.State, "Pending") && !strings.HasSuffix(e.State, ":Proceed")
}

// intoService says whether it is about to serve, and not to be warmed.
func (e *entrance) intoService() bool { return e.underWay() && !e.ToBeWarmed() }

// String tells a person: "web: Pending:Wait".
func (e *entrance) String() string { return e.Group + ": " + e.State }

// approach finds out, once in a run, whether the instance is being let in.
func (b *boot) approach(ctx context.Context) error {
	e := b.entrance
	if e.hook == "" || e.looked {
		return nil
	}
	defer b.inEC2.enter()()
	target, err := b.agent.Cloud.TargetLifecycleState(ctx)
	if err != nil {
		return err
	}
	if target != "" {
		if e.Membership, err = b.agent.Cloud.MembershipOf(ctx, b.self.InstanceID); err != nil {
			return err
		}
	}
	e.looked = true
	return nil
}

// beat keeps the action from timing out while the steps of a boot are taken. A heartbeat
// that fails may be missed: the next one follows.
func (b *boot) beat(ctx context.Context) {
	if !b.entrance.underWay() {
		return
	}
	group, hook := b.entrance.Group, b.entrance.hook
	b.beside.Go(func() {
		every := time.NewTicker(heartbeatEvery)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				_ = b.agent.Cloud.RecordHeartbeat(ctx, group, hook, b.self.InstanceID)
			}
		}
	})
}

// letIn has the instance let in, once all its sources are ready.
func (b *boot) letIn(ctx context.Context) error {
	e := b.entrance
	if !e.underWay() || b.notReadyYet() != "" {
		return nil
	}
	defer b.inEC2.enter()()
	for until := time.Now().Add(hookWithin); ; {
		err := b.agent.Cloud.CompleteLifecycleAction(ctx, e.Group, e.hook, b.self.InstanceID, ec2ops.Continue)
		if !errors.Is(err, ec2ops.ErrNoAction) {
			e.over = err == nil
			return err
		}
		// It has been completed before, or has not begun.
		if e.Membership, err = b.agent.Cloud.MembershipOf(ctx, b.self.InstanceID); err != nil {
			return err
		}
		if !e.underWay() {
			return nil
		}
		if !time.Now().Before(until) {
			return usagef("lifecycle-hook: %s is %s in %s, but does not wait in the hook %s", b.self.InstanceID, e.State, e.Group, e.hook)
		}
		if err := b.pause(ctx, hookPoll, "the lifecycle hook "+e.hook); err != nil {
			return err
		}
	}
}

// turnAway has an instance terminated and replaced that failed for good. After a
// temporary failure the next run goes on, within the hook's timeout.
func (a *Agent) turnAway(ctx context.Context, e *entrance, instanceID string, failure error) (note string) {
	if !e.underWay() || failure == nil || ExitCode(failure) == ExitTemporary {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
	defer cancel()
	err := a.Cloud.CompleteLifecycleAction(ctx, e.Group, e.hook, instanceID, ec2ops.Abandon)
	if err != nil {
		return fmt.Sprintf("%s could not be abandoned (%s); it is when the hook %s times out", instanceID, Line(err), e.hook)
	}
	return instanceID + " is abandoned: " + e.Group + " terminates and replaces it"
}
