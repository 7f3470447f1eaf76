package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// choice is what a run starts from: the volume of an earlier run, or one that came with the
// launch, else a snapshot, else nothing (a blank volume).
type choice struct {
	volume     *ec2ops.Volume
	arrived    bool // the volume came with the launch, and no run has claimed it
	snapshot   *ec2ops.Snapshot
	current    []ec2ops.Snapshot // see [placed]
	sizeGiB    int32             // of the volume to create
	failed     []ec2ops.Volume   // our volumes in the state error, to be deleted
	discarded  []ec2ops.Volume   // came with the launch, and an earlier run decided to delete them
	missing    time.Time         // when EC2 first listed the snapshot but did not find it
	duplicates []ec2ops.Volume   // further volumes with the same tags; there should be none
}

// String describes the choice for people.
func (c choice) String() string {
	switch {
	case c.volume != nil && c.arrived:
		return c.volume.SnapshotID + ", the newest, on " + c.volume.ID
	case c.volume != nil:
		return c.volume.ID + ", of an earlier run"
	case c.snapshot != nil:
		return fmt.Sprintf("%s, %s UTC, %d GiB%s", c.snapshot.ID, releases.Taken(c.snapshot).UTC().Format("2006-01-02 15:04"), c.snapshot.SizeGiB,
			releases.Origin(c.snapshot).Note())
	}
	return "no snapshot; a blank volume"
}

// chooseVolume chooses the volume to adopt among those tagged with this instance and source:
// first one attached here, then the oldest. It ignores volumes that are being deleted, and
// can't use one in the state error.
func chooseVolume(source, instanceID string, all []ec2ops.Volume) (choice, error) {
	var c choice
	var live []ec2ops.Volume
	for _, v := range all {
		switch {
		case v.Tags[ec2ops.TagSource] != source || v.Tags[ec2ops.TagInstance] != instanceID || v.Gone():
		case ec2ops.UnknownFormat(v.Tags) != "":
			return c, laterFormat(v)
		case v.State == ec2ops.VolumeError:
			c.failed = append(c.failed, v)
		case v.Tags[ec2ops.TagDiscarded] != "":
			c.discarded = append(c.discarded, v)
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
	sort.SliceStable(live, func(i, j int) bool {
		a, b := live[i], live[j]
		return cmp.Or(cmp.Compare(here(a), here(b)), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) < 0
	})
	v := live[0]
	if here(v) != 0 && len(v.Attachments) > 0 && v.State == ec2ops.VolumeInUse {
		return c, fmt.Errorf("%w: %s carries the tags of this instance but is attached to %s", failure.ErrRefused, v.ID, v.Attachments[0].InstanceID)
	}
	c.volume, c.duplicates = &v, live[1:]
	return c, nil
}

// laterFormat is the error for a volume of this instance that a later version of snapsource has made.
func laterFormat(v ec2ops.Volume) error {
	return failure.Advise(config.Usagef("%s has tags of format %s, which this version of snapsource does not know", v.ID, ec2ops.UnknownFormat(v.Tags)),
		"install the version that made it, or a later one")
}

// chooseStart decides what to create the volume from.
func chooseStart(src config.Source, ifNone string, snapshots []ec2ops.Snapshot) (snapshot *ec2ops.Snapshot, sizeGiB int32, err error) {
	s, err := releases.Of(src.Name, snapshots).Newest()
	switch {
	case err == nil && src.SizeGiB != 0 && src.SizeGiB < s.SizeGiB:
		return nil, 0, config.Usagef("size: %d GiB is less than the %d GiB of %s", src.SizeGiB, s.SizeGiB, s.ID)
	case err == nil:
		return &s, max(src.SizeGiB, s.SizeGiB), nil
	case ifNone == config.IfNoneBlank && errors.Is(err, failure.ErrNoSnapshot) && !errors.Is(err, releases.ErrLaterFormat): // and none is pending
		return nil, cmp.Or(src.SizeGiB, config.DefaultSizeGiB), nil
	}
	return nil, 0, err
}

// choose completes the choice: if there is no volume of an earlier run, it chooses the
// snapshot. It also checks that this host has mkfs.xfs if needed, before anything is created.
//
// stale is set if the volume of an earlier run is superseded.
func (l *launch) choose(ctx context.Context, obs observed) (c choice, stale *superseded, err error) {
	s := l.Begin(report.Choose)
	defer func() { l.endStep(s, stale, &err) }()
	c = obs.choice
	if obs.refused != nil {
		return c, obs.refused, nil
	}
	if c.arrived || l.needsSnapshots(c.volume) {
		snapshots, err := l.snapshots(ctx, s, obs)
		if err != nil {
			return c, nil, err
		}
		if obs.current {
			c.current = snapshots
		}
		switch {
		case c.arrived:
			stale, err = l.checkArrived(ctx, *c.volume, snapshots)
		case c.volume != nil:
			stale, err = l.checkEarlierVolume(ctx, *c.volume, snapshots)
		default:
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

// snapshots returns the list that survey requested in the background.
func (l *launch) snapshots(ctx context.Context, s *report.Running, obs observed) ([]ec2ops.Snapshot, error) {
	defer l.InEC2()()
	endWait := l.Await(report.OnCalls, "its snapshots")
	<-obs.snapshots.done
	endWait()
	all, err := admission.Do(ctx, l.limiter, s, "DescribeSnapshots", obs.snapshots.reuse(func(ctx context.Context) ([]ec2ops.Snapshot, error) {
		return l.cloud.Snapshots.Snapshots(ctx, l.src.Name)
	}))
	return named(l.src.Name, all), err
}

// named returns the snapshots whose Name is the source's: a list may be for all sources of the run.
func named(source string, all []ec2ops.Snapshot) (own []ec2ops.Snapshot) {
	for _, s := range all {
		if s.Tags[ec2ops.TagName] == source {
			own = append(own, s)
		}
	}
	return own
}

// chooseSnapshot completes a choice. If no eligible snapshot is listed, it polls for a while,
// as EC2 is eventually consistent. A launch that already chose a release never falls back
// to a blank volume.
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
	if !errors.Is(err, failure.ErrNoSnapshot) {
		return err
	}
	if ifNone != config.IfNoneBlank {
		// For the error: the list lacks rejected ones and candidates, whose Name is another.
		if snapshots, err = releases.All(ctx, l.cloud.Snapshots, l.src.Name); err != nil {
			return err
		}
	}
	c.snapshot, c.sizeGiB, err = chooseStart(l.src, ifNone, snapshots)
	return err
}

// errSnapshotGone: the chosen snapshot was deleted before a volume was created from it, for
// example by a prune.
var errSnapshotGone = errors.New("the chosen snapshot is gone")

const (
	// noSnapshotTimeout is how long to poll while no eligible snapshot is listed: EC2 is
	// eventually consistent, usually within "a couple of seconds". (EC2 API developer guide,
	// "Eventual consistency")
	// A first volume waits less: somebody may be waiting for it, and the second poll shows
	// a release that already existed.
	noSnapshotTimeout      = 12 * time.Second
	noSnapshotTimeoutBlank = 2 * time.Second

	// consistencyTimeout is how long EC2 may list a deleted snapshot, or fail to find a new
	// one. EC2 is eventually consistent, usually within a few seconds.
	consistencyTimeout = 30 * time.Second
	// consistencyPoll is the poll interval meanwhile.
	consistencyPoll = 2 * time.Second
)

// chooseAgain chooses again if EC2 does not find the chosen snapshot. While EC2 still lists
// it as the newest, one of the two answers is stale.
func (l *launch) chooseAgain(ctx context.Context, gone choice) (c choice, err error) {
	s := l.Begin(report.Choose)
	defer s.End(&err)
	defer l.InEC2()()
	l.Note(gone.snapshot.ID + " no longer exists; choosing again")
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
		return c, fmt.Errorf("%w: EC2 lists %s, but can't create a volume from it: CreateVolume: not found", failure.ErrTemporary, c.snapshot.ID)
	}
	return c, l.Pause(ctx, consistencyPoll, c.snapshot.ID)
}

// dropGone removes the volumes that this run knows to be deleted.
func (l *launch) dropGone(volumes []ec2ops.Volume) []ec2ops.Volume {
	return slices.DeleteFunc(volumes, func(v ec2ops.Volume) bool { return l.isGone(v.ID) })
}

func (l *launch) isGone(id string) bool {
	return slices.ContainsFunc(l.gone, func(v ec2ops.Volume) bool { return v.ID == id })
}

// findExisting finds the volume of an earlier run. It polls for up to timeout, as EC2 may
// not list a new volume yet.
func (l *launch) findExisting(ctx context.Context, timeout time.Duration) (choice, error) {
	found, err := l.cloud.Volumes.VolumesWithin(ctx, l.Self.InstanceID, l.src.Name, timeout)
	if err != nil {
		return choice{}, err
	}
	return chooseVolume(l.src.Name, l.Self.InstanceID, l.dropGone(found))
}
