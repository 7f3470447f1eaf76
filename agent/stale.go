package agent

import (
	"context"
	"fmt"
	"time"

	"snapsource/ec2ops"
)

// Values of Config.Stale: what a launch does when it finds, once its roles are
// announced, that a newer snapshot than its own has appeared.
const (
	StaleIgnore = "ignore" // does not look
	StaleWarn   = "warn"   // says so
	StaleWait   = "wait"   // starts over on the newer one
	StaleFail   = "fail"   // gives its volume back and fails; the next run takes the newer one
)

// staleError says that a newer release has appeared during the launch.
type staleError struct {
	volume ec2ops.Volume
	newer  ec2ops.Snapshot
	again  bool // start over on the newer one whatever the policy says
}

func (e *staleError) Error() string {
	return fmt.Sprintf("%s is from %s, and %s, %s since %s, is newer", e.volume.ID, e.volume.SnapshotID,
		e.newer.ID, e.newer.State, e.newer.Start.UTC().Format("15:04:05 UTC"))
}

func (e *staleError) Unwrap() error { return ErrTemporary }

// newerThan gives the newest snapshot of the source, completed or pending, that
// began after the one that the volume was made from.
func newerThan(source string, v ec2ops.Volume, all []ec2ops.Snapshot) (newer ec2ops.Snapshot, found bool) {
	from := v.Created // stands in when the volume's own snapshot is deleted already
	for _, s := range all {
		if s.ID == v.SnapshotID {
			from = s.Start
		}
	}
	for _, s := range all {
		pending := s
		pending.State = ec2ops.SnapshotCompleted
		coming := s.State == ec2ops.SnapshotPending && ineligible(source, pending) == ""
		if (coming || ineligible(source, s) == "") && s.Start.After(from) && (!found || s.Start.After(newer.Start)) {
			newer, found = s, true
		}
	}
	return newer, found
}

// markLaunch notes in /run that the volume has yet to be announced, so that a run
// after a crash still knows that this is a launch. On an instance that is only
// rebooted a newer snapshot is no news: deployments reach it in place.
func (b *boot) markLaunch(v ec2ops.Volume) error {
	_, attached := v.AttachmentTo(b.self.InstanceID)
	known, err := b.agent.Host.LoadRecord(b.src.Name)
	marked := err == nil && known.Ready.IsZero() && known.Volume == v.ID
	b.launch = v.SnapshotID != "" && (b.created == v.ID || !attached || marked)
	if !b.launch || marked {
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
	if !b.launch || b.cfg.Stale == StaleIgnore {
		return nil
	}
	defer b.inEC2.enter()()
	all, err := b.agent.Cloud.Snapshots(ctx, b.src.Name)
	if err != nil {
		return err
	}
	newer, found := newerThan(b.src.Name, v, all)
	if !found {
		return nil
	}
	stale := &staleError{volume: v, newer: newer}
	if b.cfg.Stale == StaleWarn {
		b.note(stale.Error() + "; the Source is the older release (--stale wait would start over)")
		return nil
	}
	return stale
}

// startOver ends a launch that turned out stale: with StaleWait it waits for the
// newer snapshot first. Then the roles come off and the volume, which no one was
// told is ready, goes.
func (b *boot) startOver(ctx context.Context, stale *staleError) error {
	b.note(stale.Error() + "; starting over")
	if b.cfg.Stale == StaleWait {
		if err := b.waitCompleted(ctx, stale.newer); err != nil {
			return err
		}
	}
	v, err := b.agent.Cloud.Volume(ctx, stale.volume.ID)
	if err != nil {
		return err
	}
	// The mark stays: whoever goes on from here, after a kill maybe, is to look again.
	if err := b.withdraw(ctx, func() error { return b.mark(v) }); err != nil {
		return err
	}
	if err := b.unmount(v); err != nil {
		return err
	}
	b.mounted = false
	if err := b.detach(ctx, v); err != nil {
		return err
	}
	b.created = ""
	if err := b.remove(ctx, v); err != nil {
		return err
	}
	b.startedOver = true
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
		id := s.ID
		s.State = "gone"
		for _, now := range all {
			if now.ID == id {
				s = now
			}
		}
	}
	return nil
}

// pendingPoll is the pause between two looks at a pending snapshot, which takes
// from some seconds to minutes.
const pendingPoll = 3 * time.Second
