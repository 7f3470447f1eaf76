package releases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// place is a region in memory.
type place struct {
	name      string
	snapshots map[string]*ec2ops.Snapshot
	from      *place          // of copies
	lost      int             // how many responses of CopySnapshot are lost, before they take effect
	onCopy    func(id string) // is called after each copy
}

func newPlace(name string, all ...ec2ops.Snapshot) *place {
	p := &place{name: name, snapshots: map[string]*ec2ops.Snapshot{}}
	for _, s := range all {
		p.snapshots[s.ID] = &s
	}
	return p
}

func (p *place) Region() string { return p.name }

func (p *place) SnapshotsTagged(_ context.Context, key, value string) (found []ec2ops.Snapshot, _ error) {
	for _, s := range p.snapshots {
		if s.Tags[key] == value {
			found = append(found, *s)
		}
	}
	return found, nil
}

func (p *place) SnapshotsWithin(ctx context.Context, key, value string, _ time.Duration) ([]ec2ops.Snapshot, error) {
	return p.SnapshotsTagged(ctx, key, value)
}

func (p *place) SnapshotByID(_ context.Context, id string) (ec2ops.Snapshot, bool, error) {
	s, known := p.snapshots[id]
	if !known {
		return ec2ops.Snapshot{}, false, nil
	}
	return *s, true, nil
}

func (p *place) SharedSnapshot(context.Context, string, string) (ec2ops.Snapshot, error) {
	return ec2ops.Snapshot{ID: "snap-shared", Copy: true, State: ec2ops.SnapshotCompleted}, nil
}

func (p *place) CopySnapshot(_ context.Context, spec ec2ops.CopySpec) (string, error) {
	if p.lost > 0 {
		p.lost--
		return "", fmt.Errorf("%w: no response", ec2ops.ErrOutcomeUnknown)
	}
	s := *p.from.snapshots[spec.SnapshotID]
	s.ID, s.Tags, s.VolumeID, s.Copy, s.Start = fmt.Sprintf("snap-copy%d", len(p.snapshots)), spec.Tags, "vol-ffffffff", true, s.Start.Add(time.Hour)
	p.snapshots[s.ID] = &s
	if p.onCopy != nil {
		p.onCopy(spec.SnapshotID)
	}
	return s.ID, nil
}

func (p *place) WaitSnapshot(_ context.Context, id string, _ func(ec2ops.Snapshot)) (ec2ops.Snapshot, error) {
	p.snapshots[id].State = ec2ops.SnapshotCompleted
	return *p.snapshots[id], nil
}

func (p *place) Tag(_ context.Context, id string, tags map[string]string) error {
	maps.Copy(p.snapshots[id].Tags, tags)
	return nil
}

func twoPlaces(all ...ec2ops.Snapshot) (from, to *place) {
	from, to = newPlace("us-west-2", all...), newPlace("eu-west-1")
	to.from = from
	return from, to
}

// TestRejectedWhileCopied: a release that is rejected between the choice and the end of the call is no
// release elsewhere, also not after the next run.
func TestRejectedWhileCopied(t *testing.T) {
	from, to := twoPlaces(taken("snap-1", 1, "r1"), taken("snap-2", 2, "r2"))
	to.onCopy = func(id string) { from.snapshots[id].Tags[ec2ops.TagRejected] = "x" }
	out, err := Copy(t.Context(), from, to, "codepen-app", CopyOptions{Snapshot: "snap-2"})
	if !errors.Is(err, failure.ErrUsage) || out.Next != nil {
		t.Errorf("%+v, %v", out, err)
	}
	to.onCopy = nil
	out, err = Copy(t.Context(), from, to, "codepen-app", CopyOptions{})
	if err != nil || out.CopyOf.Original != "snap-1" || out.Next == nil || *out.Next != out.Snapshot {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestRejectedOnlyHere: a launch elsewhere takes a copy of a release that is rejected here since.
func TestRejectedOnlyHere(t *testing.T) {
	from, to := twoPlaces(taken("snap-1", 1, "r1"), taken("snap-2", 2, "r2"))
	if out, err := Copy(t.Context(), from, to, "codepen-app", CopyOptions{}); err != nil || out.NextRejected != "" {
		t.Fatalf("%+v, %v", out, err)
	}
	from.snapshots["snap-2"].Tags[ec2ops.TagRejected] = "x"
	if out, err := Copy(t.Context(), from, to, "codepen-app", CopyOptions{}); err != nil || out.NextRejected != "snap-2" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestCopyNotFound: no response, and no copy appears: the next run makes it.
func TestCopyNotFound(t *testing.T) {
	from, to := twoPlaces(taken("snap-1", 1, "r1"))
	to.lost = 1
	if out, err := Copy(t.Context(), from, to, "codepen-app", CopyOptions{}); !errors.Is(err, failure.ErrTemporary) || out.Snapshot != "" {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := Copy(t.Context(), from, to, "codepen-app", CopyOptions{}); err != nil || out.Already || out.Next == nil || *out.Next != out.Snapshot {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestCopyOfSharedCopy: the time of the data of another account's copy is not known.
func TestCopyOfSharedCopy(t *testing.T) {
	from, to := twoPlaces()
	_, err := Copy(t.Context(), from, to, "codepen-app", CopyOptions{Owner: "210987654321", Snapshot: "snap-shared"})
	if !errors.Is(err, failure.ErrUsage) || len(to.snapshots) > 0 {
		t.Errorf("%v, %d copies", err, len(to.snapshots))
	}
}
