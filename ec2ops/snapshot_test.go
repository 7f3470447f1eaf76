package ec2ops_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// withVolume returns a client, and a volume that it may take a snapshot of.
func withVolume(t *testing.T, o ec2test.Options) (*ec2ops.Client, ec2ops.Volume) {
	t.Helper()
	c, self := connect(t, ec2test.New(t, o))
	v, err := c.CreateVolume(t.Context(), spec(self, "", 1))
	if err != nil {
		t.Fatal(err)
	}
	return c, v
}

func TestCreateSnapshot(t *testing.T) {
	c, v := withVolume(t, ec2test.Options{})
	tags := map[string]string{"Name": "app", ec2ops.TagRun: "run1"}
	made, err := c.CreateSnapshot(t.Context(), ec2ops.SnapshotSpec{VolumeID: v.ID, Description: "d", Tags: tags})
	if err != nil || made.State != ec2ops.SnapshotPending || made.SizeGiB != 5 || made.Start.IsZero() {
		t.Fatalf("%+v, %v", made, err)
	}
	looks := 0
	done, err := c.WaitSnapshot(t.Context(), made.ID, func(ec2ops.Snapshot) { looks++ })
	if err != nil || done.State != ec2ops.SnapshotCompleted || looks == 0 {
		t.Errorf("%+v, %v after %d looks", done, err, looks)
	}
	found, err := c.SnapshotsWithin(t.Context(), ec2ops.TagRun, "run1", 0)
	if err != nil || len(found) != 1 || found[0].ID != made.ID || cmp.Diff(tags, found[0].Tags) != "" {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := c.SnapshotsWithin(t.Context(), ec2ops.TagRun, "run2", 0); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestCreateSnapshotOnce: the call is made once, whatever fails, and the error says whether
// there can be a snapshot.
func TestCreateSnapshotOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		fault   ec2test.Fault
		kind    error
		unknown bool
		taken   int
	}{
		"throttled":       {ec2test.Fault{Effect: ec2test.Fail, Code: "RequestLimitExceeded"}, ec2ops.ErrTemporary, false, 0},
		"too often":       {ec2test.Fault{Effect: ec2test.Fail, Code: "SnapshotCreationPerVolumeRateExceeded"}, ec2ops.ErrTemporary, false, 0},
		"too many":        {ec2test.Fault{Effect: ec2test.Fail, Code: "ConcurrentSnapshotLimitExceeded"}, ec2ops.ErrTemporary, false, 0},
		"denied":          {ec2test.Fault{Effect: ec2test.Fail, Code: "UnauthorizedOperation"}, ec2ops.ErrDenied, false, 0},
		"a new code":      {ec2test.Fault{Effect: ec2test.Fail, Code: "SomethingNew"}, ec2ops.ErrPermanent, false, 0},
		"internal error":  {ec2test.Fault{Effect: ec2test.Fail, Code: "InternalError"}, ec2ops.ErrTemporary, true, 0},
		"unavailable":     {ec2test.Fault{Effect: ec2test.Fail, Code: "Unavailable"}, ec2ops.ErrTemporary, true, 0},
		"answer lost":     {ec2test.Fault{Effect: ec2test.DropAfter}, ec2ops.ErrTemporary, true, 1},
		"connection lost": {ec2test.Fault{Effect: ec2test.DropBefore}, ec2ops.ErrTemporary, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tc.fault.Action, tc.fault.Nth = "CreateSnapshot", 1 // a second call would succeed
			c, v := withVolume(t, ec2test.Options{Faults: []ec2test.Fault{tc.fault}})
			_, err := c.CreateSnapshot(t.Context(), ec2ops.SnapshotSpec{VolumeID: v.ID, Tags: map[string]string{ec2ops.TagRun: "run1"}})
			if !errors.Is(err, tc.kind) || errors.Is(err, ec2ops.ErrOutcomeUnknown) != tc.unknown {
				t.Errorf("%v; want %v, unknown %v", err, tc.kind, tc.unknown)
			}
			found, err := c.SnapshotsTagged(t.Context(), ec2ops.TagRun, "run1")
			if err != nil || len(found) != tc.taken {
				t.Errorf("%d snapshots, %v; want %d", len(found), err, tc.taken)
			}
		})
	}
}

// TestCreateSnapshotDeadline: the context ends the call, and the error has its cause.
func TestCreateSnapshotDeadline(t *testing.T) {
	c, v := withVolume(t, ec2test.Options{Faults: []ec2test.Fault{{Effect: ec2test.Delay, Action: "CreateSnapshot", Delay: time.Hour}}})
	why := errors.New("writers wait")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer cancel()
	if _, err := c.CreateSnapshot(ctx, ec2ops.SnapshotSpec{VolumeID: v.ID}); !errors.Is(err, ec2ops.ErrOutcomeUnknown) || !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestWaitSnapshotUnknown(t *testing.T) {
	c, _ := withVolume(t, ec2test.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.WaitSnapshot(ctx, "snap-0123456789abcdef0", nil); !errors.Is(err, ec2ops.ErrTemporary) {
		t.Error(err)
	}
	if _, err := c.Snapshot(t.Context(), "snap-0123456789abcdef0"); !errors.Is(err, ec2ops.ErrNotFound) {
		t.Error(err)
	}
}
