package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/launchhook"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Up makes every source ready as configured, all at the same time. It is idempotent and may be
// re-run after any failure. If a source fails, Up continues with the others and returns all
// errors; see [failure.ExitCode].
func (a *Agent) Up(ctx context.Context, cfg config.Config) (report.Report, error) {
	if err := a.supported(); err != nil {
		return report.Report{}, err
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	unlock, err := a.lock(ctx)
	if err != nil {
		return report.Report{}, err
	}
	defer unlock() //nolint:errcheck // the kernel releases the lock with the process at the latest
	all := newShared(a.Cloud, cfg)
	ctx, end := all.calls.scope(ctx)
	defer end()
	result, err := report.Together(cfg.Sources, a.Events, func(r *report.Run, src config.Source) error {
		l := &launch{run: a.run(r, cfg, src), shared: all, hook: all.hook}
		l.limiter = &admission.Limiter{Cloud: a.Cloud.Launches, Sources: len(cfg.Sources), Counts: &all.counts}
		err := l.up(ctx)
		all.setMounted(src.Name, err == nil)
		return err
	})
	if note := all.hook.Abandon(ctx, result.Instance(), err); note != "" {
		result.Note(a.Events, note)
	}
	return result, err
}

// up makes one source ready. Each attempt has its own volume.
func (l *launch) up(ctx context.Context) error {
	if l.nothingToDo(ctx) {
		return nil
	}
	for {
		at, stale, err := l.attempt(ctx)
		switch {
		case err == nil && stale == nil:
			return nil
		case stale != nil:
			if err := l.startOver(ctx, at, stale); err != nil {
				return err
			}
			if stale.failed != nil {
				return stale.failed
			}
		case l.vanished(at, err):
			l.Note(at.volume.ID + " no longer exists, though EC2 still lists it; starting over")
			l.gone = append(l.gone, at.volume)
		default:
			l.undo(ctx, at, err)
			l.removeRolesAfterFailure(ctx, err)
			return err
		}
	}
}

// attempt is the whole flow of a boot, with one volume. at holds the progress, also on
// failure; stale is set if the launch is superseded.
func (l *launch) attempt(ctx context.Context) (at announced, stale *superseded, err error) {
	all := ctx // for calls that the sources share
	ctx, end := l.background.scope(l.WithPauses(ctx))
	defer end()
	if err := l.identify(all); err != nil {
		return at, nil, err
	}
	l.keepHookAlive(ctx)
	obs, err := l.observe(ctx, all)
	defer func() {
		if err != nil && obs.early.byThisRun && !at.complete {
			l.unmountEarly(ctx, obs.early)
		}
	}()
	if err != nil {
		return at, nil, err
	}
	if err := l.withholdRoles(ctx, obs); err != nil {
		return at, nil, err
	}
	choice, stale, err := l.choose(ctx, obs)
	if err != nil || stale != nil {
		return at, stale, err
	}
	at.placed, err = l.create(ctx, choice)
	for errors.Is(err, errSnapshotGone) {
		if choice, err = l.chooseAgain(ctx, choice); err == nil {
			at.placed, err = l.create(ctx, choice)
		}
	}
	if err != nil {
		return at, nil, err
	}
	at.listed, at.others = obs.snapshots, obs.others
	if at.attached, err = l.attach(ctx, at.placed); err != nil {
		return at, nil, err
	}
	if at.mounted, err = l.inspectAndMount(ctx, at.attached, obs); err != nil {
		return at, refusedArrival(at.placed, err), err
	}
	return l.announce(ctx, at.mounted)
}

// observe is survey, and the mount of a volume that came with the launch: it does not wait for EC2, or
// at least not for the snapshots.
func (l *launch) observe(ctx, all context.Context) (obs observed, err error) {
	asked := l.ask(ctx, all)
	obs.early = l.mountEarly(ctx, asked)
	late := asked.snapshots == nil
	if obs.early.complete {
		asked.snapshots = l.listLate(ctx, asked.snapshots)
	}
	if obs, err = l.survey(ctx, asked, obs.early); err != nil {
		return obs, err
	}
	if err := l.mountArrived(ctx, &obs); err != nil {
		return obs, err
	}
	obs.snapshots = l.listLate(ctx, obs.snapshots)
	obs.current = late && obs.choice.arrived && obs.early.complete
	return obs, nil
}

// inspectAndMount is two steps, unless the volume is mounted already.
func (l *launch) inspectAndMount(ctx context.Context, a attached, obs observed) (at mounted, err error) {
	at.attached = a
	if obs.early.of(a) {
		at.byThisRun, at.complete = true, true
		return at, nil
	}
	if err := l.inspect(ctx, a); err != nil {
		return at, err
	}
	return l.mount(a, obs.targets)
}

// announce waits for the background calls, adds the roles, checks again for newer releases, notes
// that in the volume's tags, completes the launch hook, and saves the record.
func (l *launch) announce(ctx context.Context, m mounted) (at announced, stale *superseded, err error) {
	at.mounted = m
	s := l.Begin(report.Announce)
	defer func() { l.endStep(s, stale, &err) }()
	if err := l.waitSettled(m.attached); err != nil {
		return at, nil, err
	}
	l.shared.setMounted(l.src.Name, true)
	l.shared.waitForOthers(ctx, s)
	at.deletedWithInstance = true
	roles, changed, err := l.addRoles(ctx, m)
	at.rolesAdded = changed
	if err != nil {
		return at, nil, err
	}
	s.Detail = strings.TrimPrefix(roles+", deleted on termination", ", ")
	if stale, err = l.checkFreshness(ctx, at.placed); err != nil || stale != nil {
		return at, stale, err
	}
	if err := l.noteLaunch(ctx, at.placed); err != nil {
		return at, nil, err
	}
	if err := l.finish(ctx, s, m); err != nil {
		return at, nil, err
	}
	l.Report.Changed = true
	return at, nil, nil
}

// finish completes the launch hook, if this is the last source, and saves the record.
func (l *launch) finish(ctx context.Context, s *report.Running, m mounted) error {
	l.shared.finishing.Lock()
	defer l.shared.finishing.Unlock()
	if err := l.completeHook(ctx, s, m); err != nil {
		return err
	}
	return l.saveRecord(m)
}

// startOver ends a superseded launch. It removes the roles, waits for the newer snapshot if
// the policy is StaleWait, and deletes the volume.
func (l *launch) startOver(ctx context.Context, at announced, stale *superseded) error {
	ctx, end := l.background.scope(l.WithPauses(ctx))
	defer end()
	l.keepHookAlive(ctx)
	l.Note(stale.String() + "; starting over")
	// Keep the mark: if this run is killed, the next one must check for newer releases again.
	mark := func() error { return l.mark(stale.volume) }
	if err := l.withdrawFromRun(ctx, mark, at.rolesAdded); err != nil {
		return err
	}
	if stale.arrived {
		l.limiter.Creates()
		if err := l.discard(ctx, stale); err != nil {
			return err
		}
	}
	if l.cfg.Stale == config.StaleWait && stale.newer.ID != "" {
		if err := l.waitCompleted(ctx, stale.newer); err != nil {
			return err
		}
	}
	if err := l.takeDown(ctx, stale.volume, true); err != nil {
		return err
	}
	l.gone = append(l.gone, stale.volume)
	return nil
}

// vanished reports whether an attempt failed because the adopted volume no longer exists,
// though EC2 still lists it.
func (l *launch) vanished(at announced, err error) bool {
	return (at.origin == adopted || at.origin == arrived) && isGone(err, at.volume.ID) && !l.isGone(at.volume.ID)
}

// supported fails early on an unsupported kernel, before any wait for the metadata service.
func (a *Agent) supported() error {
	if _, err := a.Host.Mounts(); errors.Is(err, mountfs.ErrUnsupported) {
		return err
	}
	return nil
}

// lock waits for another run on this host.
func (a *Agent) lock(ctx context.Context) (unlock func() error, err error) {
	unlock, err = a.Host.Lock(ctx, func() {
		a.Events(report.Event{Phase: report.Noted, Detail: "another run holds the lock; waiting for it", At: time.Now()})
	})
	if err != nil {
		return nil, fmt.Errorf("lock this host: %w", err)
	}
	return unlock, nil
}

// identify is [run.identify], once for all sources of the run.
func (l *launch) identify(all context.Context) (err error) {
	s := l.Begin(report.Identify)
	defer s.End(&err)
	defer l.InEC2()()
	defer l.Await(report.OnCalls, "the identity")()
	self, err := l.shared.identity.get(func() (ec2ops.Identity, error) { return l.findIdentity(all, s, l.hook) })
	l.identifiedAs(self, s, l.hook)
	return err
}

// identify reads the instance's identity from the metadata service, and loads its launch hook.
func (r *run) identify(ctx context.Context, hook *launchhook.Hook) (err error) {
	s := r.Begin(report.Identify)
	defer s.End(&err)
	self, err := r.findIdentity(ctx, s, hook)
	r.identifiedAs(self, s, hook)
	return err
}

func (r *run) findIdentity(ctx context.Context, s *report.Running, hook *launchhook.Hook) (ec2ops.Identity, error) {
	self, err := r.cloud.Metadata.Identify(ctx, s.Waiting)
	if err != nil {
		return self, err
	}
	defer r.InEC2()()
	note, err := hook.Load(ctx, self.InstanceID, s)
	if note != "" {
		r.Note(note)
	}
	return self, err
}

func (r *run) identifiedAs(self ec2ops.Identity, s *report.Running, hook *launchhook.Hook) {
	if self.InstanceID == "" {
		return
	}
	r.Identified(self)
	s.Detail = fmt.Sprintf("%s, account %s", self.InstanceType, self.AccountID)
	if hook.Group() != "" {
		s.Detail += ", " + hook.String()
	}
}

// keepHookAlive sends heartbeats in the background until ctx ends, if the launch hook is pending.
func (l *launch) keepHookAlive(ctx context.Context) {
	if l.hook.Pending() {
		keepAlive := l.hook.Heartbeat(l.Self.InstanceID)
		l.background.calls.Go(func() { keepAlive(ctx) })
	}
}

// completeHook completes the launch hook once all sources are ready. It updates the records
// of the sources that were ready before.
func (l *launch) completeHook(ctx context.Context, s *report.Running, m mounted) error {
	if !l.hook.Pending() {
		return nil
	}
	l.warmBeforeService(ctx, m)
	if l.otherNotReady(nobody) != "" {
		return nil
	}
	defer l.InEC2()()
	if err := l.hook.Complete(ctx, l.Self.InstanceID, s); err != nil {
		return err
	}
	for _, src := range l.cfg.EverySource() {
		r, _, ready := record.Ready(l.host, l.host, src)
		if src.Name == l.src.Name || !ready {
			continue
		}
		if l.hook.Record(&r); r.Hook == "" {
			continue
		}
		if err := l.host.SaveRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// otherNotReady returns the name of another source of this instance that is not ready, or "". A source
// that is mounted, of this run, counts as ready.
func (l *launch) otherNotReady(mounted func(source string) bool) string {
	for _, src := range l.cfg.EverySource() {
		if src.Name == l.src.Name || mounted(src.Name) {
			continue
		}
		if _, _, ready := record.Ready(l.host, l.host, src); !ready {
			return src.Name
		}
	}
	return ""
}

func nobody(string) bool { return false }

func gib(bytes int64) string { return fmt.Sprintf("%.4g GiB", float64(bytes)/float64(ec2ops.GiB)) }
