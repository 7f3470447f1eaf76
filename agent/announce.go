package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/agent/roles"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// putRoles puts the roles on the instance, if all its sources are ready now. text is what
// a person reads about it; changed says whether this took a call.
func (l *launch) addRoles(ctx context.Context, m mounted) (text string, changed bool, err error) {
	if l.cfg.Roles.None() {
		return "", false, nil
	}
	if l.hook.ToBeWarmed() {
		return "roles once it enters service", false, nil
	}
	if waitsFor := l.otherNotReady(); waitsFor != "" {
		return "roles once " + waitsFor + " is ready", false, nil
	}
	// What was not mounted had no roles: if they are shown all the same, it is not shown
	// yet that they were taken off.
	changed, err = l.roles.Put(ctx, &m.device, m.byThisRun)
	return "roles " + strings.Join(l.cfg.Roles.Roles, ","), changed && err == nil, err
}

// withholdRoles takes the roles off an instance on which the Source is not mounted now
// though it may have been before, after a reboot or a start: no deployment is to find it
// before announce.
func (l *launch) removeStaleRoles(ctx context.Context, obs observed) error {
	if l.cfg.Roles.None() || !anyUnmounted(obs.targets) {
		return nil
	}
	tags, err := l.roles.Shown(ctx, obs.device, obs.choice.volume == nil)
	if err != nil || tags == nil {
		return err
	}
	return l.removeRolesStep(ctx, tags, false, nil)
}

func anyUnmounted(targets []mountfs.Target) bool {
	return slices.ContainsFunc(targets, func(t mountfs.Target) bool { return t.State != mountfs.Mounted })
}

// hideWithin bounds the calls that take the roles off after a failure.
const removeRolesTimeout = 30 * time.Second

// hideRoles takes the roles off after a failure, if the Source is not mounted; not where no
// call can be signed.
func (l *launch) removeRolesAfterFailure(ctx context.Context, cause error) {
	targets, err := l.inspectTargets()
	if l.cfg.Roles.None() || l.Self.InstanceID == "" || errors.Is(cause, ec2ops.ErrNoCredentials) || err != nil || !anyUnmounted(targets) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeRolesTimeout)
	defer cancel()
	tags, err := l.roles.Shown(ctx, nil, false)
	if err == nil && tags != nil {
		err = l.removeRolesStep(ctx, tags, false, nil)
	}
	if err != nil {
		l.Note("the Source is not mounted, and whether the roles are off is not known: " + failure.Line(err))
	}
}

// withdraw takes the roles off, before the volume is taken down; put says that this run has
// put them on. Before, forget makes the record one that up does not believe.
func (r *run) withdraw(ctx context.Context, forget func() error, put bool) error {
	return r.removeRolesStep(ctx, nil, put, forget)
}

// takeOff is [run.withdraw] with the instance's tags, nil if they are to be read.
func (r *run) removeRolesStep(ctx context.Context, have map[string]string, put bool, forget func() error) (err error) {
	s := r.Begin(report.Withdraw)
	defer s.End(&err)
	s.Detail = "no roles are configured"
	if !r.cfg.Roles.None() {
		s.Detail = "roles off"
	}
	known, err := r.host.LoadRecord(r.src.Name)
	recent := put || err == nil && roles.Recent(known)
	if forget != nil {
		if err := forget(); err != nil {
			return err
		}
	}
	return r.roles.Remove(ctx, have, recent)
}
