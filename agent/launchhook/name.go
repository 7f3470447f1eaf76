package launchhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// checkName checks that the group has the configured hook, before anything is created: a
// launch under a mistyped name would only fail at its end. It is an error if the group lists
// other launch hooks for as long as the table of refusals allows. Without any hook the
// instance enters service by itself, which is only a note.
func (h *Hook) checkName(ctx context.Context, s Step) (note string, err error) {
	for asking := (ec2ops.RefusalTimer{}); ; {
		names, err := h.launchHooks(ctx)
		switch {
		case ctx.Err() != nil:
			return "", err
		case errors.Is(err, ec2ops.ErrDenied): // by a policy for an earlier version
			return fmt.Sprintf("the name of the lifecycle hook %s is not checked: %s", h.name, failure.Hint(err)), nil
		case err != nil: // throttled, or no response
			return "", nil //nolint:nilerr // the launch goes on without the check
		case slices.Contains(names, h.name):
			return "", nil
		}
		if asking.Lasting(ec2ops.NoSuchHook) {
			return h.nameMissing(names)
		}
		reason := fmt.Sprintf("%s has no launch hook %s", h.Group(), h.name)
		s.Waiting(reason)
		if err := s.Pause(ctx, poll, "the lifecycle hook "+h.name); err != nil {
			return "", fmt.Errorf("%s: %w", reason, err)
		}
	}
}

// launchHooks lists the group's launch hooks. It does not insist: a launch must not fail, nor
// be slowed down by throttling, because of a check.
func (h *Hook) launchHooks(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ec2ops.WithoutThrottleRetries(ctx), hooksTimeout)
	defer cancel()
	return h.group.LaunchHooks(ctx, h.Group())
}

// nameMissing is the outcome for a group that has only these launch hooks.
func (h *Hook) nameMissing(names []string) (note string, err error) {
	if len(names) == 0 {
		return fmt.Sprintf("%s has no launch hook, so the instance enters service before its Source is ready: is the lifecycle hook %s still to be created?", h.Group(), h.name), nil
	}
	h.absent = true
	slices.Sort(names)
	err = failure.New(ec2ops.NoSuchHook.Then, fmt.Sprintf("lifecycle-hook: %s has no launch hook %s; it has %s", h.Group(), h.name, strings.Join(names, ", ")))
	return "", failure.Advise(err, "set lifecycle-hook to "+strings.Join(names, " or "))
}
