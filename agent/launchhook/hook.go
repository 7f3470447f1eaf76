// Package launchhook takes an instance through the launch hook of its Auto Scaling group:
// load, heartbeat, complete, abandon.
package launchhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/ec2ops"
)

const (
	// heartbeatEvery keeps a lifecycle action from timing out while a run is at work:
	// the shortest timeout of a hook is 30 s. (PutLifecycleHook, API reference)
	heartbeatEvery = 15 * time.Second

	// poll is the pause between two polls of a group.
	poll = 2 * time.Second

	// abandonWithin bounds the call that abandons a launch.
	abandonTimeout = 30 * time.Second
)

// Group is the instance's Auto Scaling group. *ec2ops.Client implements it.
type Group interface {
	TargetLifecycleState(ctx context.Context) (string, error)
	MembershipOf(ctx context.Context, instanceID string) (ec2ops.Membership, error)
	CompleteLifecycleAction(ctx context.Context, group, hook, instanceID, result string) error
	RecordHeartbeat(ctx context.Context, group, hook, instanceID string) error
}

// Step is the step of a run in which a group is waited for.
type Step interface {
	Waiting(reason string)
	Pause(ctx context.Context, d time.Duration, what string) error
}

// Hook is the launch hook of one instance, as far as one run knows it. The sources of the
// run share it.
type Hook struct {
	ec2ops.Membership // of the instance, once it is loaded

	group  Group
	name   string // "": none is configured
	loaded bool
	ended  bool // the action is completed, or the group says that the launch is over
}

// New gives the hook of that name; with the name "" nothing is asked of the group.
func New(group Group, name string) *Hook { return &Hook{group: group, name: name} }

// Name is the hook's name, "" if none is configured.
func (h *Hook) Name() string { return h.name }

// Pending says whether the instance is still to enter service, or its warm pool.
func (h *Hook) Pending() bool {
	return h.name != "" && !h.ended && strings.Contains(h.State, "Pending") && !strings.HasSuffix(h.State, ":Proceed")
}

// EntersService says whether the instance is about to serve, and not to be warmed.
func (h *Hook) EntersService() bool { return h.Pending() && !h.ToBeWarmed() }

// noGroup says whether the instance has been found to be in no group.
func (h *Hook) noGroup() bool { return h.name != "" && h.loaded && h.Group == "" }

// String tells a person the group and the state: "web: Pending:Wait".
func (h *Hook) String() string { return h.Group + ": " + h.State }

// Load finds out, once, which group the instance is in. note tells what the operator may
// not expect; it is "" as a rule.
func (h *Hook) Load(ctx context.Context, instanceID string, s Step) (note string, err error) {
	if h.name == "" || h.loaded {
		return "", nil
	}
	if err := h.findMembership(ctx, instanceID, s); err != nil {
		return "", err
	}
	if h.noGroup() {
		return fmt.Sprintf("%s is in no Auto Scaling group, so it has no lifecycle hook %s to complete", instanceID, h.name), nil
	}
	return "", nil
}

// findMembership asks the metadata service and Auto Scaling which group the instance is
// in, and in what state, until they agree, or as long as the table of refusals has it.
// In the usual case that is one request each.
func (h *Hook) findMembership(ctx context.Context, instanceID string, s Step) error {
	for asking := (ec2ops.Asking{}); ; {
		target, err := h.group.TargetLifecycleState(ctx)
		if err != nil {
			return err
		}
		if h.Membership, err = h.group.MembershipOf(ctx, instanceID); err != nil {
			return err
		}
		refusal := checkAgreement(target, h.Membership)
		lasting := asking.Lasting(refusal)
		if refusal == nil || lasting && refusal == ec2ops.NoGroup {
			h.loaded, h.ended = true, h.Group != "" && !h.Pending()
			return nil
		}
		reason := fmt.Sprintf("%s: the metadata service gives %s as its target lifecycle state, and DescribeAutoScalingInstances %s",
			instanceID, cmp.Or(target, "nothing (404)"), h.Membership)
		if lasting {
			return failure.New(failure.ErrTemporary, fmt.Sprintf("%s, for %s", reason, refusal.Within))
		}
		s.Waiting(reason)
		if err := s.Pause(ctx, poll, "the Auto Scaling group"); err != nil {
			return fmt.Errorf("%s: %w", reason, err)
		}
	}
}

// doubtAbout says why the target lifecycle state of the metadata service, "" for 404, and
// Auto Scaling's list can't be believed yet; nil: they agree. Auto Scaling may list an
// instance late, and the metadata service answers 404 on a member at times; neither shows
// a group that is not there.
func checkAgreement(target string, listed ec2ops.Membership) *ec2ops.Refusal {
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

// Heartbeat keeps the action from timing out, until ctx ends. A heartbeat that fails may
// be missed: the next one follows.
func (h *Hook) Heartbeat(ctx context.Context, instanceID string) {
	group := h.Group
	every := time.NewTicker(heartbeatEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			_ = h.group.RecordHeartbeat(ctx, group, h.name, instanceID)
		}
	}
}

// Complete has the instance enter service, or its warm pool. A group may take its time to
// put the instance into the hook: Complete waits for that until ctx ends.
func (h *Hook) Complete(ctx context.Context, instanceID string, s Step) error {
	for asking := (ec2ops.Asking{}); h.Pending(); {
		err := h.group.CompleteLifecycleAction(ctx, h.Group, h.name, instanceID, ec2ops.Continue)
		if err == nil {
			h.ended = true
			return nil
		}
		if !errors.Is(err, ec2ops.ErrNoAction) {
			return err
		}
		// It has been completed before, or has not begun.
		if err := h.findMembership(ctx, instanceID, s); err != nil {
			return err
		}
		if !h.Pending() {
			return nil
		}
		var refusal *ec2ops.Refusal // none in Pending: the group has yet to put it into a hook
		if h.Waits() {
			refusal = ec2ops.OtherHook
		}
		reason := fmt.Sprintf("%s is %s in %s, and not in the lifecycle hook %s", instanceID, h.State, h.Group, h.name)
		if asking.Lasting(refusal) {
			return failure.New(failure.ErrTemporary, fmt.Sprintf("%s, for %s: is this the name of the group's launch hook? If the hook is completed, another one keeps the instance waiting", reason, refusal.Within))
		}
		s.Waiting(reason)
		if err := s.Pause(ctx, poll, "the lifecycle hook "+h.name); err != nil {
			return fmt.Errorf("%s: %w", reason, err)
		}
	}
	return nil
}

// Abandon has an instance terminated and replaced whose launch has failed for good. After
// a temporary failure the next run goes on, within the hook's timeout. note tells what was
// done; it is "" if there was nothing to do.
func (h *Hook) Abandon(ctx context.Context, instanceID string, cause error) (note string) {
	if !h.Pending() || cause == nil || failure.ExitCode(cause) == failure.ExitTemporary {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	err := h.group.CompleteLifecycleAction(ctx, h.Group, h.name, instanceID, ec2ops.Abandon)
	if err != nil {
		return fmt.Sprintf("%s could not be abandoned (%s); it is when the hook %s times out", instanceID, failure.Line(err), h.name)
	}
	return instanceID + " is abandoned: " + h.Group + " terminates and replaces it"
}

// Record notes in r that the hook is over, or that there is no group to have one. An action
// that is not completed leaves no trace, so that the next run sees to it.
func (h *Hook) Record(r *record.Record) {
	r.Hook, r.NoGroup = "", ""
	switch {
	case h.ended && !h.ToBeWarmed():
		r.Hook = h.name
	case h.noGroup():
		r.NoGroup = h.name
	}
}

// NothingToDo says whether an earlier run has seen to the hook, by its record. An instance
// that was in no group may have been put into one since, which its metadata service tells.
func (h *Hook) NothingToDo(ctx context.Context, r record.Record) bool {
	switch h.name {
	case "", r.Hook:
		return true
	case r.NoGroup:
		target, err := h.group.TargetLifecycleState(ctx)
		return err == nil && target == ""
	}
	return false
}
