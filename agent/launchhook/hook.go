// Package launchhook takes an instance through the launch hook of its Auto Scaling group:
// load, heartbeat, complete, abandon.
package launchhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/ec2ops"
)

const (
	// heartbeatEvery is the heartbeat interval. The shortest heartbeat timeout of a hook is
	// 30 s. (PutLifecycleHook, API reference)
	heartbeatEvery = 15 * time.Second

	// poll is the poll interval for the group.
	poll = 2 * time.Second

	// abandonTimeout bounds the call that abandons a launch.
	abandonTimeout = 30 * time.Second

	// hooksTimeout bounds the call that lists the group's hooks.
	hooksTimeout = 5 * time.Second
)

// Group is the instance's Auto Scaling group. *ec2ops.Client implements it.
type Group interface {
	TargetLifecycleState(ctx context.Context) (string, error)
	MembershipOf(ctx context.Context, instanceID string) (ec2ops.Membership, error)
	LaunchHooks(ctx context.Context, group string) (names []string, err error)
	CompleteLifecycleAction(ctx context.Context, group, hook, instanceID, result string) error
	RecordHeartbeat(ctx context.Context, group, hook, instanceID string) error
}

// Step is the step of a run that waits for the group.
type Step interface {
	Waiting(reason string)
	Pause(ctx context.Context, d time.Duration, what string) error
}

// Hook is the launch hook of one instance in one run. The run's sources share it: once it is loaded it
// is safe for concurrent use.
type Hook struct {
	group  Group
	name   string // "": none is configured
	loaded bool
	absent bool                  // the group has no hook of that name
	last   atomic.Pointer[state] // as it was found last; nil before it is loaded
}

// state is the state of a hook at a time.
type state struct {
	ec2ops.Membership      // of the instance
	ended             bool // the lifecycle action is completed, or the instance is past its launch
}

func (h *Hook) now() state {
	if s := h.last.Load(); s != nil {
		return *s
	}
	return state{}
}

// Group is the name of the instance's Auto Scaling group, "" if it is in none.
func (h *Hook) Group() string { return h.now().Group }

// ToBeWarmed reports whether the instance is in a warm pool or on its way into one.
func (h *Hook) ToBeWarmed() bool { return h.now().ToBeWarmed() }

// New returns the hook of that name. With the name "" it makes no calls.
func New(group Group, name string) *Hook { return &Hook{group: group, name: name} }

// Name is the hook's name, "" if none is configured.
func (h *Hook) Name() string { return h.name }

// Pending reports whether the instance has yet to enter service, or its warm pool.
func (h *Hook) Pending() bool {
	return h.name != "" && h.now().pending()
}

func (s state) pending() bool {
	return !s.ended && strings.Contains(s.State, "Pending") && !strings.HasSuffix(s.State, ":Proceed")
}

// EntersService reports whether the instance is about to enter service, not the warm pool.
func (h *Hook) EntersService() bool { return h.Pending() && !h.ToBeWarmed() }

// noGroup reports whether the instance is known to be in no group.
func (h *Hook) noGroup() bool { return h.name != "" && h.loaded && h.Group() == "" }

// String describes group and state for people: "web: Pending:Wait".
func (h *Hook) String() string {
	now := h.now()
	return now.Group + ": " + now.State
}

// Load finds out once which group the instance is in, and whether the group has the hook, if
// the instance is still to wait in it. note is for the operator, or "".
func (h *Hook) Load(ctx context.Context, instanceID string, s Step) (note string, err error) {
	if h.name == "" || h.loaded {
		return "", nil
	}
	if err := h.findMembership(ctx, instanceID, s); err != nil {
		return "", err
	}
	h.loaded = true
	if h.noGroup() {
		return fmt.Sprintf("%s is in no Auto Scaling group, so it has no lifecycle hook %s to complete", instanceID, h.name), nil
	}
	if !h.Pending() {
		return "", nil
	}
	return h.checkName(ctx, s)
}

// findMembership polls the metadata service and Auto Scaling for the instance's group and
// state until they agree, or for as long as the table of refusals allows. Usually one request
// to each is enough.
func (h *Hook) findMembership(ctx context.Context, instanceID string, s Step) error {
	for asking := (ec2ops.RefusalTimer{}); ; {
		target, err := h.group.TargetLifecycleState(ctx)
		if err != nil {
			return err
		}
		listed, err := h.group.MembershipOf(ctx, instanceID)
		if err != nil {
			return err
		}
		refusal := checkAgreement(target, listed)
		lasting := asking.Lasting(refusal)
		if refusal == nil || lasting && refusal == ec2ops.NoGroup {
			found := state{Membership: listed}
			found.ended = listed.Group != "" && !found.pending()
			h.last.Store(&found)
			return nil
		}
		reason := fmt.Sprintf("%s: the metadata service gives %s as its target lifecycle state, and DescribeAutoScalingInstances %s",
			instanceID, cmp.Or(target, "nothing (404)"), listed)
		if lasting {
			return failure.New(failure.ErrTemporary, fmt.Sprintf("%s, for %s", reason, refusal.Within))
		}
		s.Waiting(reason)
		if err := s.Pause(ctx, poll, "the Auto Scaling group"); err != nil {
			return fmt.Errorf("%s: %w", reason, err)
		}
	}
}

// checkAgreement compares the metadata service's target lifecycle state, "" for 404, with
// Auto Scaling's list. It returns nil if they agree. Auto Scaling may list an instance late,
// and the metadata service sometimes returns 404 on a member of a group; but neither ever
// shows a group that does not exist.
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

// Heartbeat returns a function for the background, which sends heartbeats until its ctx
// ends. It ignores errors: the next heartbeat follows.
func (h *Hook) Heartbeat(instanceID string) (keepAlive func(ctx context.Context)) {
	group := h.Group() // which may be found anew meanwhile
	return func(ctx context.Context) {
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
}

// Complete completes the lifecycle action, so that the instance enters service, or its warm
// pool. If the group has not put the instance into the hook yet, Complete waits until ctx ends.
func (h *Hook) Complete(ctx context.Context, instanceID string, s Step) error {
	for asking := (ec2ops.RefusalTimer{}); h.Pending(); {
		err := h.group.CompleteLifecycleAction(ctx, h.Group(), h.name, instanceID, ec2ops.Continue)
		if err == nil {
			done := h.now()
			done.ended = true
			h.last.Store(&done)
			return nil
		}
		if !errors.Is(err, ec2ops.ErrNoAction) {
			return err
		}
		// The action was completed before, or has not begun.
		if err := h.findMembership(ctx, instanceID, s); err != nil {
			return err
		}
		if !h.Pending() {
			return nil
		}
		var refusal *ec2ops.Refusal // none in Pending: the group has yet to put it into a hook
		if h.now().Waits() {
			refusal = ec2ops.OtherHook
		}
		reason := fmt.Sprintf("%s is %s in %s, and not in the lifecycle hook %s", instanceID, h.now().State, h.Group(), h.name)
		if asking.Lasting(refusal) {
			err := failure.New(failure.ErrTemporary, fmt.Sprintf("%s, for %s: is this the name of the group's launch hook? If the hook is completed, another one keeps the instance waiting", reason, refusal.Within))
			return failure.Advise(err, "check lifecycle-hook, and who completes the group's other launch hooks; then run it again")
		}
		s.Waiting(reason)
		if err := s.Pause(ctx, poll, "the lifecycle hook "+h.name); err != nil {
			return fmt.Errorf("%s: %w", reason, err)
		}
	}
	return nil
}

// Abandon abandons a launch that failed permanently: the group terminates and replaces the
// instance. After a temporary failure it does nothing, as the next run may succeed before the
// hook times out. note says what was done, or is "".
func (h *Hook) Abandon(ctx context.Context, instanceID string, cause error) (note string) {
	if !h.Pending() || cause == nil || failure.ExitCode(cause) == failure.ExitTemporary {
		return ""
	}
	if h.absent {
		return instanceID + " is not abandoned, as " + h.Group() + " has no launch hook " + h.name + ": it waits until its hook times out"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	err := h.group.CompleteLifecycleAction(ctx, h.Group(), h.name, instanceID, ec2ops.Abandon)
	if err != nil {
		return fmt.Sprintf("%s could not be abandoned (%s); it will be when the hook %s times out", instanceID, failure.Line(err), h.name)
	}
	return instanceID + " is abandoned: " + h.Group() + " terminates and replaces it"
}

// Record notes in r that the hook is done, or that the instance is in no group. It notes
// nothing for a pending action, so that the next run completes it.
func (h *Hook) Record(r *record.Record) {
	r.Hook, r.NoGroup = "", ""
	switch {
	case h.now().ended && !h.ToBeWarmed():
		r.Hook = h.name
	case h.noGroup():
		r.NoGroup = h.name
	}
}

// NothingToDo reports by an earlier run's record whether the hook is done. If the instance was
// in no group then, it asks the metadata service whether it is in one now.
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
