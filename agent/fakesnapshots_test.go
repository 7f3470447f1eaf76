package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"snapsource/ec2ops"
)

func (c *fakeCloud) Snapshots(ctx context.Context, sources ...string) (all []ec2ops.Snapshot, err error) {
	return c.tagged(ctx, ec2ops.TagName, sources)
}

func (c *fakeCloud) SnapshotByID(ctx context.Context, id string) (s ec2ops.Snapshot, known bool, err error) {
	err = c.call(ctx, "DescribeSnapshots "+id, func() error {
		if i := slices.IndexFunc(c.snapshots, func(s ec2ops.Snapshot) bool { return s.ID == id }); i >= 0 {
			s, known = c.snapshots[i], true
		}
		return nil
	})
	return s, known, err
}

func (c *fakeCloud) SnapshotsTagged(ctx context.Context, key, value string) (all []ec2ops.Snapshot, err error) {
	return c.tagged(ctx, key, []string{value})
}

func (c *fakeCloud) tagged(ctx context.Context, key string, values []string) (all []ec2ops.Snapshot, err error) {
	err = c.call(ctx, "DescribeSnapshots", func() error {
		for _, s := range c.snapshots {
			if slices.Contains(values, s.Tags[key]) && (s.ID != c.hidden || time.Now().After(c.shownAt)) {
				all = append(all, s)
			}
		}
		return nil
	})
	return all, err
}

func (c *fakeCloud) SnapshotsWithin(ctx context.Context, key, value string, d time.Duration) ([]ec2ops.Snapshot, error) {
	for until := time.Now().Add(d); ; time.Sleep(time.Second) {
		all, err := c.SnapshotsTagged(ctx, key, value)
		if err != nil || len(all) > 0 || !time.Now().Before(until) {
			return all, err
		}
	}
}

// CreateSnapshot takes snapshotTakes; the snapshot is there from its beginning.
func (c *fakeCloud) CreateSnapshot(ctx context.Context, s ec2ops.SnapshotSpec) (snap ec2ops.Snapshot, err error) {
	err = c.call(ctx, "CreateSnapshot "+s.VolumeID, func() error {
		snap = ec2ops.Snapshot{ID: fmt.Sprintf("snap-%017x", len(c.snapshots)+1), State: ec2ops.SnapshotPending, Progress: "0%",
			Tier: "standard", OwnerID: theInstance.AccountID, Start: time.Now(), SizeGiB: c.volumes[s.VolumeID].SizeGiB, Tags: maps.Clone(s.Tags)}
		if !c.snapshotFails {
			c.snapshots = append(c.snapshots, snap)
		}
		return nil
	})
	if err != nil {
		return ec2ops.Snapshot{}, err
	}
	cancelled := ctx.Done()
	if c.deaf {
		cancelled = nil
	}
	select {
	case <-cancelled:
		err = context.Cause(ctx)
	case <-time.After(c.snapshotTakes):
		if c.answerLost {
			err = errors.New("connection reset")
		}
	}
	if err != nil {
		return ec2ops.Snapshot{}, fmt.Errorf("%w: %w", ec2ops.ErrOutcomeUnknown,
			&ec2ops.APIError{Action: "ec2:CreateSnapshot", Kind: ec2ops.ErrTemporary, Err: err})
	}
	return snap, nil
}

func (c *fakeCloud) WaitSnapshot(ctx context.Context, id string, onPoll func(ec2ops.Snapshot)) (snap ec2ops.Snapshot, err error) {
	for _, progress := range []string{"", "0%", "50%", "50%", "100%"} {
		err = c.call(ctx, "DescribeSnapshots "+id, func() error {
			i := slices.IndexFunc(c.snapshots, func(s ec2ops.Snapshot) bool { return s.ID == id })
			if progress == "100%" {
				c.snapshots[i].State = ec2ops.SnapshotCompleted
			}
			c.snapshots[i].Progress = progress
			snap = c.snapshots[i]
			return nil
		})
		if err != nil {
			return snap, err
		}
		onPoll(snap)
		time.Sleep(time.Second)
	}
	return snap, nil
}

func (c *fakeCloud) DeleteSnapshot(ctx context.Context, id string) error {
	return c.call(ctx, "DeleteSnapshot "+id, func() error {
		c.snapshots = slices.DeleteFunc(c.snapshots, func(s ec2ops.Snapshot) bool { return s.ID == id })
		return nil
	})
}
