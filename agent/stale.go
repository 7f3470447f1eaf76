package agent

import (
	"context"
	"fmt"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

// staleError says that a launch is superseded.
type staleError struct {
	volume    ec2ops.Volume
	newer     ec2ops.Snapshot // of no id: there is none
	withdrawn string          // why the volume's own snapshot is no release any more
	again     bool            // start over whatever the policy says
}

func (e *staleError) Error() string {
	from := fmt.Sprintf("%s is from %s", e.volume.ID, e.volume.SnapshotID)
	if e.volume.SnapshotID == "" {
		from = e.volume.ID + " began blank"
	}
	if e.newer.ID == "" {
		return from + ", which is " + e.withdrawn
	}
	return fmt.Sprintf("%s, and %s, %s since %s, is newer", from, e.newer.ID, e.newer.State, e.newer.Start.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func (e *staleError) Unwrap() error { return failure.ErrTemporary }

// superseded finds out whether a launch from a volume is superseded, by the snapshots
// that EC2 lists; nil if it is not. A snapshot that is missing from the list may be
// rejected or gone, or the list may be late: EC2 is asked for it by its id.
func (b *boot) superseded(ctx context.Context, v ec2ops.Volume, all []ec2ops.Snapshot) (*staleError, error) {
	c := releases.Of(b.src.Name, all)
	if newer, found := c.NewerThan(v); found {
		return &staleError{volume: v, newer: newer}, nil
	}
	if _, listed := c.Holds(v); !listed && b.created != v.ID {
		all, err := releases.All(ctx, b.agent.Cloud, b.src.Name)
		if err != nil {
			return nil, err
		}
		c = releases.Of(b.src.Name, all)
	}
	if v.SnapshotID == "" { // a new one: no release was listed, and any would have been taken
		if newest, none := c.Newest(); none == nil {
			return &staleError{volume: v, newer: newest}, nil
		}
		return nil, nil
	}
	why, err := b.withdrawn(ctx, v, c)
	if err != nil || why == "" {
		return nil, err
	}
	if _, none := c.Newest(); none != nil && releases.StartedSince(v, b.self) {
		return nil, nil // it was in service, and there is nothing else
	}
	return &staleError{volume: v, withdrawn: why}, nil
}

// withdrawn says why the newest release that a volume holds is none any more; "" when it
// is one. That its snapshot is gone counts only for a volume that this run has made: old
// snapshots are pruned.
func (b *boot) withdrawn(ctx context.Context, v ec2ops.Volume, c releases.Catalogue) (string, error) {
	if held, listed := c.Holds(v); listed {
		return releases.Withdrawn(b.src.Name, &held), nil
	}
	if v.SnapshotID == "" || b.created != v.ID {
		return "", nil
	}
	own, known, err := b.agent.Cloud.SnapshotByID(ctx, v.SnapshotID)
	switch {
	case err != nil:
		return "", err
	case !known:
		return releases.Withdrawn(b.src.Name, nil), nil
	}
	return releases.Withdrawn(b.src.Name, &own), nil
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
func (b *boot) overtaken(ctx context.Context, v ec2ops.Volume, snapshots []ec2ops.Snapshot) (*staleError, error) {
	started, serves := releases.StartedSince(v, b.self), b.entrance.intoService() && v.SnapshotID != ""
	if b.cfg.Stale == config.StaleIgnore && !serves {
		return nil, nil
	}
	c := releases.Of(b.src.Name, snapshots).Completed()
	if _, listed := c.Holds(v); started || !listed {
		// With those that are rejected: it may hold one.
		all, err := releases.All(ctx, b.agent.Cloud, b.src.Name)
		if err != nil {
			return nil, err
		}
		c = releases.Of(b.src.Name, all).Completed()
	}
	newer, found := c.NewerThan(v)
	why, err := b.withdrawn(ctx, v, c)
	if err != nil {
		return nil, err
	}
	rejected := why != ""
	if !found && !rejected {
		return nil, nil
	}
	stale := &staleError{volume: v, newer: newer, withdrawn: why}
	replacement, none := c.Newest()
	switch {
	case started && !serves && (b.cfg.Stale == config.StaleWarn || v.SnapshotID == "" || replacement.ID == ""):
		b.note("the instance was stopped and started: " + stale.Error())
		return nil, nil
	case replacement.ID == "":
		return nil, fmt.Errorf("%w: %w", stale, none)
	case started && !serves:
		return stale, nil
	case !rejected && !serves: // the second look decides
		return nil, nil
	}
	stale.again = true
	return stale, nil
}

// looksAtSnapshots says whether [boot.overtaken] depends on them.
func (b *boot) looksAtSnapshots(v *ec2ops.Volume) bool {
	return v == nil || b.entrance.intoService() || releases.StartedSince(*v, b.self) || b.unannounced(*v)
}

// unannounced says whether a volume of an earlier run was surely never announced: that run
// has left a mark in /run; or there is no record of it, nor a tag that it was in service,
// and it is not attached, or is to outlive the instance, which ends before it is announced.
func (b *boot) unannounced(v ec2ops.Volume) bool {
	known, err := b.agent.Host.LoadRecord(b.src.Name)
	switch {
	case err == nil && known.Volume == v.ID:
		return known.Ready.IsZero()
	case v.Tags[ec2ops.TagStarted] != "":
		return false
	}
	a, attached := v.AttachmentTo(b.self.InstanceID)
	return !attached || !a.DeleteOnTermination
}

func (b *boot) marked(v ec2ops.Volume) bool {
	known, err := b.agent.Host.LoadRecord(b.src.Name)
	return err == nil && known.Ready.IsZero() && known.Volume == v.ID
}

// markLaunch notes in /run that the volume has yet to be announced, so that a run
// after a crash still knows that this is a launch. On an instance that is only
// rebooted a newer snapshot is no news: deployments reach it in place.
func (b *boot) markLaunch(v ec2ops.Volume) error {
	blank := v.SnapshotID == "" && b.created != v.ID
	b.launch = !blank && (b.created == v.ID || b.unannounced(v) || releases.StartedSince(v, b.self))
	if !b.launch || b.marked(v) {
		return nil
	}
	return b.mark(v)
}

// mark leaves a record that says no more than that the volume is not announced.
func (b *boot) mark(v ec2ops.Volume) error {
	return b.agent.Host.SaveRecord(Record{Source: b.src.Name, Volume: v.ID})
}

// lookAgain is the last thing of a launch's announcement: since its roles can be
// seen, every later deployment reaches it, so only a snapshot that is there by now
// can have been missed.
func (b *boot) lookAgain(ctx context.Context, v ec2ops.Volume) error {
	if !b.launch || b.cfg.Stale == config.StaleIgnore {
		return nil
	}
	defer b.inEC2.enter()()
	all, err := b.agent.Cloud.Snapshots(ctx, b.src.Name)
	if err != nil {
		return err
	}
	stale, err := b.superseded(ctx, v, all)
	if err != nil || stale == nil {
		return err
	}
	if b.cfg.Stale == config.StaleWarn {
		is := "the older release"
		if stale.newer.ID == "" {
			is = "that release"
		}
		b.note(stale.Error() + "; the Source is " + is + " (--stale wait would start over)")
		return nil
	}
	return stale
}

// dealtWithStart notes on a volume from before a stop that the instance, started since,
// was checked for newer releases: later deployments reach it.
func (b *boot) dealtWithStart(ctx context.Context, v ec2ops.Volume) error {
	if !releases.StartedSince(v, b.self) {
		return nil
	}
	defer b.inEC2.enter()()
	err := b.agent.Cloud.Tag(ctx, v.ID, map[string]string{ec2ops.TagStarted: releases.StartTag(b.self)})
	if err != nil && ctx.Err() == nil { // the role's policy may be of an older version
		b.note("a reboot will be taken for a start once more: " + failure.Line(err))
		return nil
	}
	return err
}

// startOver ends a launch that is superseded: the roles come off, with StaleWait it waits
// for the newer snapshot, and the volume, which is not announced any more, is deleted.
func (b *boot) startOver(ctx context.Context, stale *staleError) error {
	b.note(stale.Error() + "; starting over")
	v := stale.volume
	// The mark stays: whoever goes on from here, after a kill maybe, is to look again.
	if err := b.withdraw(ctx, func() error { return b.mark(v) }); err != nil {
		return err
	}
	if b.cfg.Stale == config.StaleWait && stale.newer.ID != "" {
		if err := b.waitCompleted(ctx, stale.newer); err != nil {
			return err
		}
	}
	if err := b.takeDown(ctx, v, true); err != nil {
		return err
	}
	b.gone = append(b.gone, v)
	return nil
}

// waitCompleted looks at the source's snapshots until this one is no longer
// pending. Whatever it ends as, the next choice is made afresh.
func (b *boot) waitCompleted(ctx context.Context, s ec2ops.Snapshot) (err error) {
	step := b.begin(Choose)
	defer step.end(&err)
	defer b.inEC2.enter()()
	step.detail = s.ID
	for s.State == ec2ops.SnapshotPending {
		step.waiting(fmt.Sprintf("%s is pending, %s", s.ID, s.Progress))
		if err := b.pause(ctx, pendingPoll, s.ID); err != nil {
			return err
		}
		all, err := b.agent.Cloud.Snapshots(ctx, b.src.Name)
		if err != nil {
			return err
		}
		now, listed := releases.Of(b.src.Name, all).Find(s.ID)
		if !listed {
			now.State = "gone"
		}
		s = now
	}
	return nil
}

// pendingPoll is the pause between two looks at a pending snapshot, which takes
// from some seconds to minutes.
const pendingPoll = 3 * time.Second
