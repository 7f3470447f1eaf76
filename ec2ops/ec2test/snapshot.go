package ec2test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

func (s *Server) createSnapshot(c *call) (any, error) {
	volumeID, description := c.required("VolumeId"), c.text("Description")
	tags := c.tagSpecifications("snapshot")
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.caller != nil && len(tags) > 0 {
		if err := s.denied(c.caller, "CreateTags"); err != nil {
			return nil, err
		}
	}
	id := s.random.id("snap")
	if err := s.store.View(c.ctx, func(w *World) error {
		_, err := s.snapshotable(w, volumeID, c.now)
		return err
	}); err != nil {
		return nil, err
	}
	// As for volumes, create the data first and the record last.
	if s.opts.Disks != nil {
		if err := s.opts.Disks.CreateSnapshot(c.ctx, id, volumeID); err != nil {
			return nil, errors.Join(err, s.opts.Disks.DeleteSnapshot(context.WithoutCancel(c.ctx), id))
		}
	}
	snap := &Snapshot{
		ID: id, VolumeID: volumeID, Owner: s.opts.Account, Description: description, Tier: "standard",
		Tags: tags, Started: time.Now(), // the time of its data
	}
	snap.Completed = snap.Started.Add(s.random.snapshot())
	snap.Visible = snap.Started.Add(s.unseen(c))
	err := s.store.Update(c.ctx, func(w *World) error {
		v, err := s.snapshotable(w, volumeID, c.now)
		if err != nil {
			return err
		}
		snap.Size, snap.Encrypted, snap.KMSKeyID = v.Size, v.Encrypted, v.KMSKeyID
		w.Snapshots[id] = snap
		return nil
	})
	if err != nil {
		if s.opts.Disks != nil {
			err = errors.Join(err, s.opts.Disks.DeleteSnapshot(context.WithoutCancel(c.ctx), id))
		}
		return nil, err
	}
	c.resource = id
	item := snap.wire(snap.Started)
	item.Status, item.Progress, item.CompletionTime = "pending", "", ""
	return item, nil
}

// snapshotable returns the volume if a snapshot of it can be taken now.
func (s *Server) snapshotable(w *World, volumeID string, now time.Time) (*Volume, error) {
	v, err := findVolume(w, volumeID, now)
	if err != nil {
		return nil, err
	}
	if state := v.State(now); state != "available" && state != "in-use" {
		return nil, fail("IncorrectState", "Volume '%s' is in the '%s' state.", volumeID, state)
	}
	for _, other := range w.Snapshots {
		if other.VolumeID == volumeID && now.Sub(other.Started) < s.opts.SnapshotInterval {
			return nil, fail("SnapshotCreationPerVolumeRateExceeded", "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep interval between requests.")
		}
	}
	return v, nil
}

func (s *Server) deleteSnapshot(c *call) (any, error) {
	id := c.required("SnapshotId")
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	err := s.store.Update(c.ctx, func(w *World) error {
		snap, err := s.findSnapshot(w, id, c.now)
		if err != nil {
			return err
		}
		if snap.Owner != s.opts.Account {
			return fail("OperationNotPermitted", "The snapshot '%s' belongs to another account.", id)
		}
		if err := snap.needed(c.now); err != nil {
			return err
		}
		snap.Deleted = c.now
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.opts.Disks != nil {
		if err := s.opts.Disks.DeleteSnapshot(context.WithoutCancel(c.ctx), id); err != nil {
			return nil, err
		}
	}
	return answered{true}, nil
}

// backupTag is on the snapshots that AWS Backup manages.
const backupTag = "aws:backup:source-resource"

// needed returns EC2's error for deleting a snapshot that something else needs. The messages
// are EC2's; for a locked one neither code nor message is known.
// (openshift/installer#9964; rebuy-de/aws-nuke#453; EBS user guide, "Snapshot lock")
func (s *Snapshot) needed(now time.Time) error {
	switch zone := s.fastZone(now); {
	case s.Image != "":
		return fail("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", s.ID, s.Image)
	case zone != "":
		return fail("InvalidSnapshot.InUse", "The snapshot %s is currently enabled for fast restores in %s. Fast snapshot restores must be disabled within all Availability Zones before the snapshot may be deleted.", s.ID, zone)
	case s.Tags[backupTag] != "":
		return fail("InvalidParameterValue", "This snapshot is managed by the AWS Backup service and cannot be deleted via EC2 APIs. If you wish to delete this snapshot, please do so via the Backup console.")
	case s.Locked:
		return fail("OperationNotPermitted", "The snapshot %s is locked and cannot be deleted.", s.ID)
	}
	return nil
}

func (s *Server) findSnapshot(w *World, id string, now time.Time) (*Snapshot, error) {
	if !strings.HasPrefix(id, "snap-") {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter snapshotId is invalid. Expected: 'snap-...'.", id)
	}
	snap := w.snapshot(id)
	if snap == nil || snap.State(now) == "" || !snap.readableBy(s.opts.Account) {
		return nil, snapshotNotFound(id)
	}
	return snap, nil
}

type snapshotsAnswer struct {
	Snapshots set[snapshotItem] `xml:"snapshotSet"`
	Next      string            `xml:"nextToken,omitempty"`
}

func (s *Server) describeSnapshots(c *call) (any, error) {
	sel := c.selection("SnapshotId")
	owners, restorable := c.list("Owner"), c.list("RestorableBy")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []Snapshot
	if err := s.store.View(c.ctx, func(w *World) error {
		w = w.shown(c.now)
		visible := w.snapshotsFor(s.opts.Account)
		for _, id := range candidates(sel, s.opts.ShortPages, visible, func(s *Snapshot) bool { return sel.tagsMatch(s.Tags) }) {
			snap := visible[id]
			if snap.State(c.now) == "" || c.now.Before(snap.Visible) || !snap.readableBy(s.opts.Account) {
				continue
			}
			if s.ownedByOne(snap, owners) && s.restorableByOne(snap, restorable) {
				copied := *snap
				all = append(all, copied)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, func(s Snapshot) string { return s.ID },
		func(s Snapshot) attributes { return s.attributes(c.now) }, snapshotNotFound)
	if err != nil {
		return nil, err
	}
	answer := snapshotsAnswer{Next: next}
	for _, snap := range page {
		answer.Snapshots.Items = append(answer.Snapshots.Items, snap.wire(c.now))
	}
	return answer, nil
}

// ownedByOne says whether one of the requested owners owns a snapshot. No requested owner
// means every snapshot that the account may use.
func (s *Server) ownedByOne(snap *Snapshot, owners []string) bool {
	return len(owners) == 0 || slices.Contains(owners, snap.Owner) ||
		slices.Contains(owners, "self") && snap.Owner == s.opts.Account
}

func (s *Server) restorableByOne(snap *Snapshot, accounts []string) bool {
	for _, account := range accounts {
		readable := snap.readableBy(account)
		switch account {
		case "all":
			readable = snap.Public
		case "self": // "for snapshots for which you own or have explicit permissions" (API reference)
			readable = snap.Owner == s.opts.Account || slices.Contains(snap.SharedWith, s.opts.Account)
		}
		if readable {
			return true
		}
	}
	return len(accounts) == 0
}

func (s Snapshot) attributes(now time.Time) attributes {
	return attributes{
		"snapshot-id":  {s.ID},
		"volume-id":    {s.VolumeID},
		"volume-size":  {decimal(s.Size)},
		"status":       {s.State(now)},
		"progress":     {s.Progress(now)},
		"start-time":   {stamp(s.Started)},
		"owner-id":     {s.Owner},
		"owner-alias":  nil,
		"description":  {s.Description},
		"encrypted":    {truth(s.Encrypted)},
		"storage-tier": {s.Tier},
	}.withTags(s.Tags)
}
