package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"time"
)

// choice is what a run works with: the volume of an earlier run, else a snapshot to
// make one from, else nothing (a blank volume).
type choice struct {
	volume     *ec2ops.Volume
	snapshot   *ec2ops.Snapshot
	sizeGiB    int32           // of the volume to create
	failed     []ec2ops.Volume // volumes of ours in the state error, to be deleted
	missing    time.Time       // since when EC2 does not find the snapshot, though it lists it
	duplicates []ec2ops.Volume // further live volumes of ours: there should be none
}

// String tells the choice to a person.
func (c choice) String() string {
	switch {
	case c.volume != nil:
		return c.volume.ID + ", of an earlier run"
	case c.snapshot != nil:
		return fmt.Sprintf("%s, %s UTC, %d GiB", c.snapshot.ID, c.snapshot.Start.UTC().Format("2006-01-02 15:04"), c.snapshot.SizeGiB)
	}
	return "no snapshot; a blank volume"
}

// chooseVolume picks among the volumes that carry this instance's and this
// source's tags the one to go on with: one that is attached here before one that
// is not, then the oldest. A volume that is being deleted does not count; one in
// the state error can't be used.
func chooseVolume(source, instanceID string, all []ec2ops.Volume) (choice, error) {
	var c choice
	var live []ec2ops.Volume
	for _, v := range all {
		switch {
		case v.Tags[ec2ops.TagSource] != source || v.Tags[ec2ops.TagInstance] != instanceID || v.Gone():
		case v.State == ec2ops.VolumeError:
			c.failed = append(c.failed, v)
		default:
			live = append(live, v)
		}
	}
	if len(live) == 0 {
		return c, nil
	}
	here := func(v ec2ops.Volume) int {
		if _, ok := v.AttachmentTo(instanceID); ok {
			return 0
		}
		return 1
	}
	slices.SortFunc(live, func(a, b ec2ops.Volume) int {
		return cmp.Or(cmp.Compare(here(a), here(b)), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	v := live[0]
	if here(v) != 0 && len(v.Attachments) > 0 && v.State == ec2ops.VolumeInUse {
		return c, fmt.Errorf("%w: %s carries the tags of this instance but is attached to %s", failure.ErrRefused, v.ID, v.Attachments[0].InstanceID)
	}
	c.volume, c.duplicates = &v, live[1:]
	return c, nil
}

// chooseStart decides what to start from when there is no volume yet.
func chooseStart(src config.Source, ifNone string, snapshots []ec2ops.Snapshot) (snapshot *ec2ops.Snapshot, sizeGiB int32, err error) {
	s, err := releases.Of(src.Name, snapshots).Newest()
	switch {
	case err == nil && src.SizeGiB != 0 && src.SizeGiB < s.SizeGiB:
		return nil, 0, config.Usagef("size: %d GiB is less than the %d GiB of %s", src.SizeGiB, s.SizeGiB, s.ID)
	case err == nil:
		return &s, max(src.SizeGiB, s.SizeGiB), nil
	case ifNone == config.IfNoneBlank && errors.Is(err, failure.ErrNoSnapshot): // and none is pending
		return nil, cmp.Or(src.SizeGiB, config.DefaultSizeGiB), nil
	}
	return nil, 0, err
}

// choose completes the choice: without a volume of an earlier run, the snapshot to
// start from. What the later steps need of this host is checked here, before
// anything is created.
//
// over is set when the volume of an earlier run is superseded.
func (l *launch) choose(ctx context.Context, obs observed) (c choice, stale *superseded, err error) {
	s := l.Begin(report.Choose)
	defer s.End(&err)
	c = obs.choice
	if l.needsSnapshots(c.volume) {
		snapshots, err := l.snapshots(ctx, s, obs)
		if err != nil {
			return c, nil, err
		}
		if c.volume != nil {
			stale, err = l.checkEarlierVolume(ctx, *c.volume, snapshots)
		} else {
			err = l.chooseSnapshot(ctx, s, &c, snapshots)
		}
		if err != nil || stale != nil {
			return c, stale, err
		}
	}
	if c.volume == nil && c.snapshot == nil {
		if _, err := l.host.MkfsPath(); err != nil {
			return c, nil, err
		}
	}
	s.Detail = c.String()
	return c, nil, ctx.Err()
}

// snapshots gives the list that survey has asked for.
func (l *launch) snapshots(ctx context.Context, s *report.Running, obs observed) ([]ec2ops.Snapshot, error) {
	defer l.InEC2()()
	endWait := l.Await(report.OnCalls, "its snapshots")
	<-obs.snapshots.done
	endWait()
	return admission.Do(ctx, l.limiter, s, "DescribeSnapshots", obs.snapshots.reuse(func(ctx context.Context) ([]ec2ops.Snapshot, error) {
		return l.cloud.Snapshots.Snapshots(ctx, l.src.Name)
	}))
}

// chooseSnapshot completes a choice. No answer that lists no eligible snapshot is believed
// alone. A launch that has had a release does not end up blank.
func (l *launch) chooseSnapshot(ctx context.Context, s *report.Running, c *choice, snapshots []ec2ops.Snapshot) (err error) {
	defer l.InEC2()()
	ifNone, timeout := l.cfg.IfNone, noSnapshotTimeout
	if c.snapshot != nil || slices.ContainsFunc(l.gone, func(v ec2ops.Volume) bool { return v.SnapshotID != "" }) {
		ifNone = config.IfNoneFail
	}
	if ifNone == config.IfNoneBlank {
		timeout = noSnapshotTimeoutBlank
	}
	c.snapshot, c.sizeGiB, err = chooseStart(l.src, config.IfNoneFail, snapshots)
	for until := time.Now().Add(timeout); errors.Is(err, failure.ErrNoSnapshot) && time.Now().Before(until); {
		s.Waiting(failure.Line(err))
		if err := l.Pause(ctx, consistencyPoll, "a snapshot"); err != nil {
			return err
		}
		if snapshots, err = l.cloud.Snapshots.Snapshots(ctx, l.src.Name); err == nil {
			c.snapshot, c.sizeGiB, err = chooseStart(l.src, config.IfNoneFail, snapshots)
		}
	}
	if errors.Is(err, failure.ErrNoSnapshot) {
		c.snapshot, c.sizeGiB, err = chooseStart(l.src, ifNone, snapshots)
	}
	return err
}

// errSnapshotGone says that the chosen snapshot was deleted before a volume could be made
// from it, by a prune maybe.
var errSnapshotGone = errors.New("the chosen snapshot is gone")

const (
	// noneStill is for how long no eligible snapshot may be listed before that is taken to
	// be so: EC2 is eventually consistent, "a couple of seconds" as a rule. (EC2 API
	// developer guide, "Eventual consistency")
	// For a first volume it is less: somebody may be waiting for it, and the second look
	// sees a release that was there all the same.
	noSnapshotTimeout      = 12 * time.Second
	noSnapshotTimeoutBlank = 2 * time.Second

	// listedStill is how long EC2 may list a snapshot that it can't find, or not find one
	// that is new: it is eventually consistent, as a rule within a few seconds.
	consistencyTimeout = 30 * time.Second
	// listedPoll is the pause between two looks at that.
	consistencyPoll = 2 * time.Second
)

// chooseAgain chooses anew when EC2 does not find the snapshot that was chosen. As long as
// it still lists it as the newest, one of the two answers is late.
func (l *launch) chooseAgain(ctx context.Context, gone choice) (c choice, err error) {
	s := l.Begin(report.Choose)
	defer s.End(&err)
	defer l.InEC2()()
	l.Note(gone.snapshot.ID + " is gone; choosing again")
	all, err := l.cloud.Snapshots.Snapshots(ctx, l.src.Name)
	if err != nil {
		return gone, err
	}
	c = gone
	if err := l.chooseSnapshot(ctx, s, &c, all); err != nil {
		return c, err
	}
	s.Detail = c.String()
	if c.snapshot.ID != gone.snapshot.ID {
		c.missing = time.Time{}
		return c, nil
	}
	if c.missing.IsZero() {
		c.missing = time.Now()
	}
	if time.Since(c.missing) > consistencyTimeout {
		return c, fmt.Errorf("%w: EC2 lists %s, but makes no volume from it: CreateVolume: not found", failure.ErrTemporary, c.snapshot.ID)
	}
	return c, l.Pause(ctx, consistencyPoll, c.snapshot.ID)
}

// without leaves out the volumes that are known to be gone.
func (l *launch) dropGone(volumes []ec2ops.Volume) []ec2ops.Volume {
	return slices.DeleteFunc(volumes, func(v ec2ops.Volume) bool { return l.isGone(v.ID) })
}

func (l *launch) isGone(id string) bool {
	return slices.ContainsFunc(l.gone, func(v ec2ops.Volume) bool { return v.ID == id })
}

// existing looks for a volume of ours that an earlier run made, which may take a while
// to be listed.
func (l *launch) findExisting(ctx context.Context, within time.Duration) (choice, error) {
	found, err := l.cloud.Volumes.VolumesWithin(ctx, l.Self.InstanceID, l.src.Name, within)
	if err != nil {
		return choice{}, err
	}
	return chooseVolume(l.src.Name, l.Self.InstanceID, l.dropGone(found))
}
