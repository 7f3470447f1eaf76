package agent

import (
	"context"
	"fmt"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// superseded is the outcome of a launch whose release is no longer the newest, or is withdrawn.
type superseded struct {
	volume    ec2ops.Volume
	newer     ec2ops.Snapshot // its id is "" if there is none
	withdrawn string          // why the volume's snapshot is no longer a release
	always    bool            // start over regardless of the policy
	none      error           // why no release can replace it; nil: one can
	arrived   bool            // the volume came with the launch

	failed error // of the step that found it; nil: the run starts over
}

// String describes it for people.
func (o *superseded) String() string {
	from := fmt.Sprintf("%s is from %s", o.volume.ID, o.volume.SnapshotID)
	if o.arrived {
		from = fmt.Sprintf("%s, which came with the launch, is from %s", o.volume.ID, o.volume.SnapshotID)
	}
	if o.volume.SnapshotID == "" {
		from = o.volume.ID + " began blank"
	}
	if o.newer.ID == "" {
		return from + ", which is " + o.withdrawn
	}
	return fmt.Sprintf("%s, and %s, %s since %s, is newer", from, o.newer.ID, o.newer.State, releases.Taken(&o.newer).UTC().Format("2006-01-02 15:04:05 UTC"))
}

// endStep ends the step that may have found the launch superseded. If the run fails because
// of that, the step has failed.
func (l *launch) endStep(s *report.Running, stale *superseded, err *error) {
	if stale == nil {
		s.End(err)
		return
	}
	s.Detail = stale.String()
	switch reason := failure.New(failure.ErrTemporary, stale.String()); {
	case stale.none != nil:
		stale.failed = fmt.Errorf("%w: %w", reason, stale.none)
	case !stale.always && l.cfg.Stale != config.StaleWait:
		stale.failed = failure.Advise(reason, "run snapsource up again: it launches the newest release; with --stale wait it would have started over by itself")
	}
	s.End(&stale.failed)
}

// supersededBy checks by the listed snapshots whether a launch is superseded; it returns nil
// if not. If the volume's snapshot is missing from the list, it may be rejected or deleted, or
// the list may be stale: supersededBy then describes that snapshot by its id.
func (l *launch) supersededBy(ctx context.Context, all []ec2ops.Snapshot, p placed) (*superseded, error) {
	v := p.volume
	c := releases.Of(l.src.Name, all)
	if newer, found := c.NewerThan(v); found {
		return &superseded{volume: v, newer: newer}, nil
	}
	if _, listed := c.Holds(v); !listed && !p.origin.launched() {
		all, err := releases.All(ctx, l.cloud.Snapshots, l.src.Name)
		if err != nil {
			return nil, err
		}
		c = releases.Of(l.src.Name, all)
	}
	if v.SnapshotID == "" { // a new one: no release was listed when it was created
		if newest, none := c.Newest(); none == nil {
			return &superseded{volume: v, newer: newest}, nil
		}
		return nil, nil
	}
	why, err := l.withdrawn(ctx, p, c)
	if err != nil || why == "" {
		return nil, err
	}
	if _, none := c.Newest(); none != nil && releases.StartedSince(v, l.Self) {
		return nil, nil // it was in service, and nothing can replace it
	}
	return &superseded{volume: v, withdrawn: why}, nil
}

// withdrawn says why the newest release on a volume is no longer a release; "" if it is. A
// deleted snapshot counts only for a volume that this run created, as old snapshots are pruned.
func (l *launch) withdrawn(ctx context.Context, p placed, c releases.Catalogue) (string, error) {
	v := p.volume
	if held, listed := c.Holds(v); listed {
		return releases.Withdrawn(l.src.Name, &held), nil
	}
	if v.SnapshotID == "" || !p.origin.launched() {
		return "", nil
	}
	own, known, err := l.cloud.Snapshots.SnapshotByID(ctx, v.SnapshotID)
	switch {
	case err != nil:
		return "", err
	case !known:
		return releases.Withdrawn(l.src.Name, nil), nil
	}
	return releases.Withdrawn(l.src.Name, &own), nil
}

// checkEarlierVolume decides whether a run may continue with the volume of an earlier run;
// it returns nil if so.
//
//   - An instance that is about to enter service: nobody uses its volume yet. The volume is
//     replaced if there is a newer release, or if its own release is rejected.
//   - A launch whose volume was never announced: the volume is replaced if its release is
//     rejected.
//   - An instance that was stopped and started since: its volume was in service. The policy
//     decides, as for a launch. A volume that began blank is kept with a note, as its data
//     may exist nowhere else.
//   - An instance that was only rebooted: deployments reach it in place.
//
// A volume that was in service is not deleted before there is a replacement, and none is
// deleted because its snapshot was: old snapshots are pruned.
func (l *launch) checkEarlierVolume(ctx context.Context, v ec2ops.Volume, snapshots []ec2ops.Snapshot) (*superseded, error) {
	started, serves := releases.StartedSince(v, l.Self), l.hook.EntersService() && v.SnapshotID != ""
	if l.cfg.Stale == config.StaleIgnore && !serves {
		return nil, nil
	}
	c := releases.Of(l.src.Name, snapshots).Completed()
	if _, listed := c.Holds(v); started || !listed {
		// List rejected snapshots too: the volume may be from one.
		all, err := releases.All(ctx, l.cloud.Snapshots, l.src.Name)
		if err != nil {
			return nil, err
		}
		c = releases.Of(l.src.Name, all).Completed()
	}
	newer, found := c.NewerThan(v)
	why, err := l.withdrawn(ctx, placed{volume: v, origin: adopted}, c)
	if err != nil {
		return nil, err
	}
	if !found && why == "" {
		return nil, nil
	}
	stale := &superseded{volume: v, newer: newer, withdrawn: why}
	_, none := c.Newest()
	switch decideStaleAction(l.cfg.Stale, started, serves, v.SnapshotID == "", why != "", none == nil) {
	case keepAndNote:
		l.Note("the instance was stopped and started: " + stale.String())
		return nil, nil
	case failWithoutReplacement:
		stale.none = none
		return stale, nil
	case applyPolicy:
		return stale, nil
	case replaceVolume:
		stale.always = true
		return stale, nil
	}
	return nil, nil
}

// staleAction is what to do with the volume of an earlier run if there is a newer release, or
// its own release is rejected.
type staleAction int

const (
	keepVolume             staleAction = iota // the check in announce decides
	keepAndNote                               // keep it, with a note
	failWithoutReplacement                    // nothing can replace it: delete it and fail
	applyPolicy                               // with another volume, or fail
	replaceVolume                             // with another volume
)

// decideStaleAction decides what to do with a stale volume.
//
//   - started: the instance was stopped and started since the volume was announced
//   - serves: the instance is about to enter service
//   - blank: the volume began blank
//   - rejected: its release is rejected
//   - replaceable: there is another release
func decideStaleAction(stale string, started, serves, blank, rejected, replaceable bool) staleAction {
	switch {
	case started && !serves && (stale == config.StaleWarn || blank || !replaceable):
		return keepAndNote
	case !replaceable:
		return failWithoutReplacement
	case started && !serves:
		return applyPolicy
	case !rejected && !serves:
		return keepVolume
	}
	return replaceVolume
}

// needsSnapshots reports whether choose needs the list of snapshots.
func (l *launch) needsSnapshots(v *ec2ops.Volume) bool {
	return v == nil || l.hook.EntersService() || releases.StartedSince(*v, l.Self) || l.unannounced(*v)
}

// unannounced reports whether a volume of an earlier run was certainly never announced. That
// is so if the run left a mark in /run. Without a record it is so if no tag says that the
// volume was in service, and it is not attached or its DeleteOnTermination, which is set
// before it is announced, is not set.
func (l *launch) unannounced(v ec2ops.Volume) bool {
	known, err := l.host.LoadRecord(l.src.Name)
	switch {
	case err == nil && known.Volume == v.ID:
		return known.Ready.IsZero()
	case v.Tags[ec2ops.TagStarted] != "":
		return false
	}
	a, attached := v.AttachmentTo(l.Self.InstanceID)
	return !attached || !a.DeleteOnTermination
}

// markLaunch records in /run that the volume is not announced yet, so that a run after a
// crash still treats this as a launch. After a mere reboot a newer snapshot does not matter:
// deployments reach the instance in place.
func (l *launch) markLaunch(p placed) (unannounced bool, err error) {
	v := p.volume
	blank := v.SnapshotID == "" && p.origin != created
	if blank || !p.origin.launched() && !l.unannounced(v) && !releases.StartedSince(v, l.Self) {
		return false, nil
	}
	if l.marked(v) {
		return true, nil
	}
	return true, l.mark(v)
}

// mark saves a record that says only that the volume is not announced.
func (r *run) mark(v ec2ops.Volume) error {
	return r.host.SaveRecord(record.Record{Source: r.src.Name, Volume: v.ID, Snapshot: v.SnapshotID})
}

func (r *run) marked(v ec2ops.Volume) bool {
	known, err := r.host.LoadRecord(r.src.Name)
	return err == nil && known.Ready.IsZero() && known.Volume == v.ID
}

// checkFreshness checks for newer releases after the roles are added. Later deployments find
// the instance by its roles, so only a snapshot that exists by now can have been missed.
func (l *launch) checkFreshness(ctx context.Context, p placed) (*superseded, error) {
	if !p.unannounced || l.cfg.Stale == config.StaleIgnore {
		return nil, nil
	}
	defer l.InEC2()()
	all, err := p.current, error(nil)
	if all == nil {
		all, err = l.cloud.Snapshots.Snapshots(ctx, l.src.Name)
	}
	if err != nil {
		return nil, err
	}
	stale, err := l.supersededBy(ctx, all, p)
	if err != nil || stale == nil || l.cfg.Stale != config.StaleWarn {
		return stale, err
	}
	is := "the older release"
	if stale.newer.ID == "" {
		is = "that release"
	}
	l.Note(stale.String() + "; the Source is " + is + " (--stale wait would start over)")
	return nil, nil
}

// noteLaunch tags a volume of which this launch has checked for newer releases, so that later
// deployments reach the instance in place: it claims one that arrived, and notes the start on one that
// is older than the instance's last start.
func (l *launch) noteLaunch(ctx context.Context, p placed) error {
	started := releases.StartedSince(p.volume, l.Self)
	if p.origin != arrived && !started {
		return nil
	}
	defer l.InEC2()()
	if p.origin == arrived {
		return l.claim(ctx, p.volume)
	}
	err := l.cloud.Volumes.Tag(ctx, p.volume.ID, map[string]string{ec2ops.TagStarted: releases.StartTag(l.Self)})
	if err != nil && ctx.Err() == nil { // the policy of the instance's role may be for an older version
		l.Note("the next reboot will be treated like a start: " + failure.Line(err))
		return nil
	}
	return err
}

// waitCompleted polls until the snapshot is no longer pending. It does not return the final
// state, as the next attempt chooses again.
func (l *launch) waitCompleted(ctx context.Context, s ec2ops.Snapshot) (err error) {
	step := l.Begin(report.Choose)
	defer step.End(&err)
	defer l.InEC2()()
	step.Detail = s.ID
	for s.State == ec2ops.SnapshotPending {
		step.Waiting(fmt.Sprintf("%s is pending, %s", s.ID, s.Progress))
		if err := l.Pause(ctx, pendingPoll, s.ID); err != nil {
			return err
		}
		all, err := l.cloud.Snapshots.Snapshots(ctx, l.src.Name)
		if err != nil {
			return err
		}
		now, listed := releases.Of(l.src.Name, all).Find(s.ID)
		if !listed {
			now.State = "gone"
		}
		s = now
	}
	return nil
}

// pendingPoll is the poll interval for a pending snapshot, which takes seconds to minutes.
const pendingPoll = 3 * time.Second
