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

// superseded says that a launch is superseded, and by what.
type superseded struct {
	step      report.Step // that found it out
	volume    ec2ops.Volume
	newer     ec2ops.Snapshot // with the id "" there is none
	withdrawn string          // why the volume's own snapshot is no release any more
	always    bool            // start over whatever the policy says
}

// String tells it to a person.
func (o *superseded) String() string {
	from := fmt.Sprintf("%s is from %s", o.volume.ID, o.volume.SnapshotID)
	if o.volume.SnapshotID == "" {
		from = o.volume.ID + " began blank"
	}
	if o.newer.ID == "" {
		return from + ", which is " + o.withdrawn
	}
	return fmt.Sprintf("%s, and %s, %s since %s, is newer", from, o.newer.ID, o.newer.State, o.newer.Start.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// failure is the error of a run whose policy is to fail then.
func (o *superseded) failure(source string) error {
	return &report.StepError{Source: source, Step: o.step, Err: failure.New(failure.ErrTemporary, o.String())}
}

// supersededBy finds out whether a launch from a volume is superseded, by the snapshots
// that EC2 lists; nil if it is not. A snapshot that is missing from the list may be
// rejected or gone, or the list may be late: EC2 is asked for it by its id.
func (l *launch) supersededBy(ctx context.Context, all []ec2ops.Snapshot, p placed) (*superseded, error) {
	v := p.volume
	c := releases.Of(l.src.Name, all)
	if newer, found := c.NewerThan(v); found {
		return &superseded{step: report.Announce, volume: v, newer: newer}, nil
	}
	if _, listed := c.Holds(v); !listed && p.origin != created {
		all, err := releases.All(ctx, l.cloud.Snapshots, l.src.Name)
		if err != nil {
			return nil, err
		}
		c = releases.Of(l.src.Name, all)
	}
	if v.SnapshotID == "" { // a new one: no release was listed, and any would have been taken
		if newest, none := c.Newest(); none == nil {
			return &superseded{step: report.Announce, volume: v, newer: newest}, nil
		}
		return nil, nil
	}
	why, err := l.withdrawn(ctx, p, c)
	if err != nil || why == "" {
		return nil, err
	}
	if _, none := c.Newest(); none != nil && releases.StartedSince(v, l.Self) {
		return nil, nil // it was in service, and there is nothing else
	}
	return &superseded{step: report.Announce, volume: v, withdrawn: why}, nil
}

// withdrawn says why the newest release that a volume holds is none any more; "" when it
// is one. That its snapshot is gone counts only for a volume that this run has made: old
// snapshots are pruned.
func (l *launch) withdrawn(ctx context.Context, p placed, c releases.Catalogue) (string, error) {
	v := p.volume
	if held, listed := c.Holds(v); listed {
		return releases.Withdrawn(l.src.Name, &held), nil
	}
	if v.SnapshotID == "" || p.origin != created {
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

// overtaken decides whether a run may go on with the volume of an earlier run.
//
//   - An instance that is about to be let into service, and a launch whose volume was
//     never announced: nobody uses the volume yet. It is replaced if a release has passed
//     it by (in the first case), or if its own is rejected.
//   - An instance that was stopped and started since: its volume was in service. The
//     policy decides, as for a launch. One that began blank is only told of: what is on it
//     may be nowhere else.
//   - An instance that was only rebooted: deployments reach it in place.
//
// Nothing is deleted as long as there is nothing to replace it, nor because a snapshot was
// deleted: old ones are pruned.
func (l *launch) checkEarlierVolume(ctx context.Context, v ec2ops.Volume, snapshots []ec2ops.Snapshot) (*superseded, error) {
	started, serves := releases.StartedSince(v, l.Self), l.hook.EntersService() && v.SnapshotID != ""
	if l.cfg.Stale == config.StaleIgnore && !serves {
		return nil, nil
	}
	c := releases.Of(l.src.Name, snapshots).Completed()
	if _, listed := c.Holds(v); started || !listed {
		// With those that are rejected: it may hold one.
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
	stale := &superseded{step: report.Choose, volume: v, newer: newer, withdrawn: why}
	_, none := c.Newest()
	switch decideStaleAction(l.cfg.Stale, started, serves, v.SnapshotID == "", why != "", none == nil) {
	case keepAndNote:
		l.Note("the instance was stopped and started: " + stale.String())
		return nil, nil
	case failWithoutReplacement:
		return nil, fmt.Errorf("%w: %w", failure.New(failure.ErrTemporary, stale.String()), none)
	case applyPolicy:
		return stale, nil
	case replaceVolume:
		stale.always = true
		return stale, nil
	}
	return nil, nil
}

// overtaking is what to do about a volume of an earlier run that a release has passed by,
// or whose release is rejected.
type staleAction int

const (
	keepVolume             staleAction = iota // the check before the end of the launch decides
	keepAndNote                               // and go on
	failWithoutReplacement                    // fail
	applyPolicy                               // with another volume, or fail
	replaceVolume                             // with another volume
)

// decideOvertaken decides that: started says that the instance was stopped and started
// since its volume was announced, serves that it is about to enter service, blank that the
// volume began blank, rejected that its release is rejected, replaceable that there is
// another.
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

// needsSnapshots says whether [launch.overtaken] depends on them.
func (l *launch) needsSnapshots(v *ec2ops.Volume) bool {
	return v == nil || l.hook.EntersService() || releases.StartedSince(*v, l.Self) || l.unannounced(*v)
}

// unannounced says whether a volume of an earlier run was surely never announced: that run
// has left a mark in /run; or there is no record of it, nor a tag that it was in service,
// and it is not attached, or is to outlive the instance, which ends before it is announced.
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

// markLaunch notes in /run that the volume has yet to be announced, so that a run
// after a crash still knows that this is a launch. On an instance that is only
// rebooted a newer snapshot is no news: deployments reach it in place.
func (l *launch) markLaunch(p placed) (unannounced bool, err error) {
	v := p.volume
	blank := v.SnapshotID == "" && p.origin != created
	if blank || p.origin != created && !l.unannounced(v) && !releases.StartedSince(v, l.Self) {
		return false, nil
	}
	if l.marked(v) {
		return true, nil
	}
	return true, l.mark(v)
}

// mark leaves a record that says no more than that the volume is not announced.
func (r *run) mark(v ec2ops.Volume) error {
	return r.host.SaveRecord(record.Record{Source: r.src.Name, Volume: v.ID})
}

func (r *run) marked(v ec2ops.Volume) bool {
	known, err := r.host.LoadRecord(r.src.Name)
	return err == nil && known.Ready.IsZero() && known.Volume == v.ID
}

// checkFreshness is the last check of a launch's announcement: since its roles can be
// seen, every later deployment reaches it, so only a snapshot that is there by now
// can have been missed.
func (l *launch) checkFreshness(ctx context.Context, p placed) (*superseded, error) {
	if !p.unannounced || l.cfg.Stale == config.StaleIgnore {
		return nil, nil
	}
	defer l.InEC2()()
	all, err := l.cloud.Snapshots.Snapshots(ctx, l.src.Name)
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

// noteStart notes on a volume from before a stop that the instance, started since,
// was checked for newer releases: later deployments reach it.
func (l *launch) noteStart(ctx context.Context, v ec2ops.Volume) error {
	if !releases.StartedSince(v, l.Self) {
		return nil
	}
	defer l.InEC2()()
	err := l.cloud.Volumes.Tag(ctx, v.ID, map[string]string{ec2ops.TagStarted: releases.StartTag(l.Self)})
	if err != nil && ctx.Err() == nil { // the role's policy may be of an older version
		l.Note("a reboot will be taken for a start once more: " + failure.Line(err))
		return nil
	}
	return err
}

// waitCompleted polls the source's snapshots until this one is no longer
// pending. Whatever it ends as, the next choice is made afresh.
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

// pendingPoll is the pause between two polls of a pending snapshot, which takes
// from some seconds to minutes.
const pendingPoll = 3 * time.Second
