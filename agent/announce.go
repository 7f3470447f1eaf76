package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/agent/roles"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// addRoles tags the instance with its roles if all its sources are ready. text describes
// the result for people; changed reports whether a call was needed.
func (l *launch) addRoles(ctx context.Context, m mounted) (text string, changed bool, err error) {
	if l.cfg.Roles.None() {
		return "", false, nil
	}
	if l.hook.ToBeWarmed() {
		return "roles once it enters service", false, nil
	}
	l.shared.announcing.Lock()
	defer l.shared.announcing.Unlock()
	if waitsFor := l.otherNotReady(l.shared.isMounted); waitsFor != "" {
		return "roles once " + waitsFor + " is ready", false, nil
	}
	text = "roles " + strings.Join(l.cfg.Roles.Roles, ",")
	if l.shared.rolesOn {
		return text, false, nil
	}
	// Before this run mounted the Source, the instance had no roles. If EC2 still shows
	// them, it does not show their removal yet: tag again.
	changed, err = l.roles.Put(ctx, &m.device, l.earlierRoles(), m.byThisRun)
	l.shared.rolesOn = err == nil
	return text, changed && err == nil, err
}

// withdrawFromRun is withdraw, for a source that is not mounted from here on. Other sources of the run
// put no roles on before it is.
func (l *launch) withdrawFromRun(ctx context.Context, forget func() error, added bool) error {
	l.shared.announcing.Lock()
	defer l.shared.announcing.Unlock()
	l.shared.setMounted(l.src.Name, false)
	added = added || l.shared.rolesOn
	l.shared.rolesOn = false
	return l.withdraw(ctx, forget, added)
}

// earlierRoles are the roles that the last run put on the instance, if that is known.
func (r *run) earlierRoles() config.Roles {
	known, err := r.host.LoadRecord(r.src.Name)
	if err != nil {
		return config.Roles{}
	}
	return known.Announced
}

// withholdRoles removes the roles that an instance still has after a reboot or a start
// while its Source is not mounted. No deployment must find it before announce.
func (l *launch) withholdRoles(ctx context.Context, obs observed) error {
	if l.cfg.Roles.None() || !anyUnmounted(obs.targets) {
		return nil
	}
	tags, err := l.roles.Shown(ctx, obs.device, obs.choice.volume == nil || obs.choice.arrived)
	if err != nil || tags == nil {
		return err
	}
	return l.removeRoles(ctx, tags, false, nil)
}

func anyUnmounted(targets []mountfs.Target) bool {
	return slices.ContainsFunc(targets, func(t mountfs.Target) bool { return t.State != mountfs.Mounted })
}

// removeRolesTimeout bounds the calls that remove the roles after a failure.
const removeRolesTimeout = 30 * time.Second

// removeRolesAfterFailure removes the roles if the Source is not mounted. Without
// credentials it does nothing.
func (l *launch) removeRolesAfterFailure(ctx context.Context, cause error) {
	targets, err := l.inspectTargets()
	if l.cfg.Roles.None() || l.Self.InstanceID == "" || errors.Is(cause, ec2ops.ErrNoCredentials) || err != nil || !anyUnmounted(targets) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeRolesTimeout)
	defer cancel()
	tags, err := l.roles.Shown(ctx, nil, false)
	if err == nil && tags != nil {
		err = l.removeRoles(ctx, tags, false, nil)
	}
	if err != nil {
		l.Note("the Source is not mounted, but the instance may still have its roles: " + failure.Line(err))
	}
}

// withdraw removes the roles before the volume is taken down; added says that this run added
// them. It first calls forget, which invalidates the record.
func (r *run) withdraw(ctx context.Context, forget func() error, added bool) error {
	return r.removeRoles(ctx, nil, added, forget)
}

// removeRoles is the step of [run.withdraw]. tags are the instance's; if nil, it reads them.
func (r *run) removeRoles(ctx context.Context, tags map[string]string, added bool, forget func() error) (err error) {
	s := r.Begin(report.Withdraw)
	defer s.End(&err)
	ours := r.roles
	ours.Wanted = ours.Wanted.With(r.earlierRoles())
	s.Detail = "no roles to remove"
	if !ours.Wanted.None() {
		s.Detail = strings.TrimSuffix("roles removed: "+strings.Join(ours.Wanted.Roles, ","), ": ")
	}
	known, err := r.host.LoadRecord(r.src.Name)
	recent := added || err == nil && roles.Recent(known)
	if forget != nil {
		if err := forget(); err != nil {
			return err
		}
	}
	return ours.Remove(ctx, tags, recent)
}
