package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

const (
	// heartbeatEvery keeps a lifecycle action from timing out while a run is at work:
	// the shortest timeout of a hook is 30 s. (PutLifecycleHook, API reference)
	heartbeatEvery = 15 * time.Second

	// hookPoll is the pause between two looks at a group.
	hookPoll = 2 * time.Second

	// abandonWithin bounds the call that gives up a launch.
	abandonWithin = 30 * time.Second
)

// entrance is an instance's way into the service, or into the warm pool, of its Auto
// Scaling group, as far as one run goes it.
type entrance struct {
	hook string // "": none is configured
	ec2ops.Membership

	looked bool
	over   bool // the action is completed, or the group says that the launch is over
}

// outside says whether the instance has been found to be in no group.
func (e *entrance) outside() bool { return e.hook != "" && e.looked && e.Group == "" }

// record notes in r which hook is over, or that there is no group to have one. An action
// that is not completed leaves no trace, so that the next run sees to it.
func (e *entrance) record(r *Record) {
	r.Hook, r.NoGroup = "", ""
	switch {
	case e.over && !e.ToBeWarmed():
		r.Hook = e.hook
	case e.outside():
		r.NoGroup = e.hook
	}
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
func (b *boot) approach(ctx context.Context, s *step) error {
	e := b.entrance
	if e.hook == "" || e.looked {
		return nil
	}
	defer b.inEC2.enter()()
	if err := b.findMembership(ctx, s.waiting); err != nil {
		return err
	}
	if e.outside() {
		b.note(fmt.Sprintf("%s is in no Auto Scaling group, so it has no lifecycle hook %s to complete", b.self.InstanceID, e.hook))
	}
	return nil
}

// findMembership asks the metadata service and Auto Scaling which group the instance is
// in, and in what state, until they agree, or as long as the table of refusals has it.
// In the usual case that is one request each.
func (b *boot) findMembership(ctx context.Context, waiting func(reason string)) error {
	e := b.entrance
	for asking := (ec2ops.Asking{}); ; {
		target, err := b.agent.Cloud.TargetLifecycleState(ctx)
		if err != nil {
			return err
		}
		if e.Membership, err = b.agent.Cloud.MembershipOf(ctx, b.self.InstanceID); err != nil {
			return err
		}
		doubt := doubtAbout(target, e.Membership)
		lasting := asking.Lasting(doubt)
		if doubt == nil || lasting && doubt == ec2ops.NoGroup {
			e.looked, e.over = true, e.Group != "" && !e.underWay()
			return nil
		}
		reason := fmt.Sprintf("%s: the metadata service gives %s as its target lifecycle state, and DescribeAutoScalingInstances %s",
			b.self.InstanceID, cmp.Or(target, "nothing (404)"), e.Membership)
		if lasting {
			return failure.New(failure.ErrTemporary, fmt.Sprintf("%s, for %s", reason, doubt.Within))
		}
		waiting(reason)
		if err := b.pause(ctx, hookPoll, "the Auto Scaling group"); err != nil {
			return fmt.Errorf("%s: %w", reason, err)
		}
	}
}

// doubtAbout says why the target lifecycle state of the metadata service, "" for 404, and
// Auto Scaling's list can't be believed yet; nil: they agree. Auto Scaling may list an
// instance late, and the metadata service answers 404 on a member at times; what neither
// does is to show a group that is not there.
func doubtAbout(target string, listed ec2ops.Membership) *ec2ops.Refusal {
	switch {
	case target == "" && listed.Group == "":
		return ec2ops.NoGroup
	case listed.Group == "":
		return ec2ops.GroupUnclear
	case listed.State == "Warmed:Stopped" || listed.State == "Warmed:Hibernated":
		return ec2ops.GroupUnclear // but it runs
	case target != "" && listed.ToBeWarmed() != strings.HasPrefix(target, "Warmed:"):
		return ec2ops.GroupUnclear
	}
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

// letIn has the instance let in, once all its sources are ready. A group may take its
// time to put the instance into the hook: that is waited for until the run's deadline.
func (b *boot) letIn(ctx context.Context, s *step) error {
	e := b.entrance
	if !e.underWay() || b.notReadyYet() != "" {
		return nil
	}
	defer b.inEC2.enter()()
	for asking := (ec2ops.Asking{}); ; {
		err := b.agent.Cloud.CompleteLifecycleAction(ctx, e.Group, e.hook, b.self.InstanceID, ec2ops.Continue)
		if err == nil {
			e.over = true
			return b.recordLetIn()
		}
		if !errors.Is(err, ec2ops.ErrNoAction) {
			return err
		}
		// It has been completed before, or has not begun.
		if err := b.findMembership(ctx, s.waiting); err != nil {
			return err
		}
		if !e.underWay() {
			return b.recordLetIn()
		}
		var doubt *ec2ops.Refusal // none in Pending: the group has yet to put it into a hook
		if e.Waits() {
			doubt = ec2ops.OtherHook
		}
		waits := fmt.Sprintf("%s is %s in %s, and not in the lifecycle hook %s", b.self.InstanceID, e.State, e.Group, e.hook)
		if asking.Lasting(doubt) {
			return failure.New(failure.ErrTemporary, fmt.Sprintf("%s, for %s: is this the name of the group's launch hook? If the hook is completed, another one keeps the instance waiting", waits, doubt.Within))
		}
		s.waiting(waits)
		if err := b.pause(ctx, hookPoll, "the lifecycle hook "+e.hook); err != nil {
			return fmt.Errorf("%s: %w", waits, err)
		}
	}
}

// recordLetIn notes in the records of the instance's other sources, which were ready
// before, that the hook is over.
func (b *boot) recordLetIn() error {
	for _, src := range b.cfg.EverySource() {
		if src.Name == b.src.Name {
			continue
		}
		other := boot{agent: b.agent, cfg: b.cfg, src: src}
		r, ok := other.stillReady()
		if !ok {
			continue
		}
		if b.entrance.record(&r); r.Hook == "" {
			continue
		}
		if err := b.agent.Host.SaveRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// hookIsOver says whether there is nothing to do about the hook, by what an earlier run
// found. An instance that was in no group may have been put into one since, which its
// metadata service tells.
func (b *boot) hookIsOver(ctx context.Context, r Record) bool {
	switch b.cfg.LifecycleHook {
	case "", r.Hook:
		return true
	case r.NoGroup:
		target, err := b.agent.Cloud.TargetLifecycleState(ctx)
		return err == nil && target == ""
	}
	return false
}

// turnAway has an instance terminated and replaced that failed for good. After a
// temporary failure the next run goes on, within the hook's timeout.
func (a *Agent) turnAway(ctx context.Context, e *entrance, instanceID string, cause error) (note string) {
	if !e.underWay() || cause == nil || failure.ExitCode(cause) == failure.ExitTemporary {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
	defer cancel()
	err := a.Cloud.CompleteLifecycleAction(ctx, e.Group, e.hook, instanceID, ec2ops.Abandon)
	if err != nil {
		return fmt.Sprintf("%s could not be abandoned (%s); it is when the hook %s times out", instanceID, failure.Line(err), e.hook)
	}
	return instanceID + " is abandoned: " + e.Group + " terminates and replaces it"
}
