package ec2test

import (
	"context"
	"errors"
	"strings"
)

// noVolume is the volume id of snapshot copies: "an arbitrary volume ID that should not be
// used for any purpose". (Snapshot, API reference)
const noVolume = "vol-ffffffff"

// copySnapshot copies a snapshot of the region, of another one, or of another account that shares it.
// The copy has its own start time, and only the requested tags.
func (s *Server) copySnapshot(c *call) (any, error) {
	from, region, description := c.required("SourceSnapshotId"), c.required("SourceRegion"), c.text("Description")
	encrypted, key := c.truth("Encrypted", false), c.text("KmsKeyId")
	tags := c.tagSpecifications("snapshot")
	presigned := c.text("PresignedUrl")
	c.text("DestinationRegion") // by old clients; it is part of the presigned URL
	if err := c.check(); err != nil {
		return nil, err
	}
	source := s.At(Place{s.opts.Account, region})
	switch {
	case source == nil:
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter sourceRegion is invalid. There is no such region.", region)
	case key != "" && !encrypted:
		return nil, fail("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	original, doomed, err := source.copied(c, from, source != s)
	if err != nil {
		return nil, err
	}
	if presigned == "" && original.Encrypted && source != s {
		// "When you copy an encrypted source snapshot using the Amazon EC2 Query API, you must supply a
		// pre-signed URL." (CopySnapshot, API reference)
		return nil, fail("MissingParameter", "The request must contain the parameter PresignedUrl")
	}
	copied := &Snapshot{
		ID: s.random.id("snap"), VolumeID: noVolume, Owner: s.opts.Account, Description: description, Copy: true, Tier: "standard",
		Size: original.Size, Encrypted: original.Encrypted || encrypted, KMSKeyID: key, Tags: tags,
		Started: c.now, Completed: c.now.Add(s.random.snapshot()), Visible: c.now.Add(s.unseen(c)),
		Doomed: doomed || c.hit.has(Broken) || presigned != "" && !s.ValidPresigned(presigned, from, region, c.now),
	}
	if copied.Encrypted && key == "" { // the account's default key in the region of the copy
		copied.KMSKeyID = "arn:aws:kms:" + s.opts.Region + ":" + s.opts.Account + defaultKey
	}
	if !s.usableKey(key) || !s.mayUseKey(c.caller, key) || original.Encrypted && !source.mayUseKey(c.caller, original.KMSKeyID) {
		// (Snapshot, API reference, "StateMessage"; aws-samples/aws-backup-automation#2)
		copied.Doomed, copied.Message = true, "Given key ID is not accessible"
	}
	if s.opts.Disks != nil && !doomed {
		if err := s.opts.Disks.CopySnapshot(c.ctx, copied.ID, from); err != nil {
			return nil, errors.Join(err, s.opts.Disks.DeleteSnapshot(context.WithoutCancel(c.ctx), copied.ID))
		}
	}
	c.resource = copied.ID
	return copiedAnswer{copied.ID, tags.wire()}, s.store.Update(c.ctx, func(w *World) error {
		pending := 0
		for _, other := range w.Snapshots {
			if other.Copy && other.State(c.now) == "pending" {
				pending++
			}
		}
		if pending >= s.opts.CopyLimit {
			return fail("ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is %d for this destination region.", s.opts.CopyLimit)
		}
		w.Snapshots[copied.ID] = copied
		return nil
	})
}

type copiedAnswer struct {
	SnapshotID string       `xml:"snapshotId"`
	Tags       set[tagItem] `xml:"tagSet"`
}

// copied returns the snapshot that is to be copied. Another region is asked only later: a copy of a
// snapshot that it does not have is pending, and fails. (terraform-provider-aws#3086)
func (s *Server) copied(c *call, id string, elsewhere bool) (original Snapshot, doomed bool, err error) {
	err = s.store.View(c.ctx, func(w *World) error {
		snap, err := s.findSnapshot(w, id, c.now)
		if err != nil && elsewhere && strings.HasPrefix(id, "snap-") {
			doomed = true
			return nil
		}
		if err != nil {
			return err
		}
		// Only a completed snapshot can be copied. (EBS user guide, "Copy an Amazon EBS snapshot") The
		// error is that of CreateVolume; for this call it is not documented.
		if state := snap.State(c.now); state != "completed" {
			return fail("IncorrectState", "Snapshot is in invalid state - %s", state)
		}
		original = *snap
		return nil
	})
	return original, doomed, err
}

// usableKey says whether a copy can be encrypted with a key, "" for the default one. EC2 checks that only
// after it has accepted the call. (CopySnapshot, API reference, "KmsKeyId")
func (s *Server) usableKey(key string) bool {
	// arn:aws:kms:REGION:ACCOUNT:key/ID
	arn := strings.SplitN(key, ":", 5)
	return (len(arn) < 5 || arn[3] == s.opts.Region) && s.keyExists(key)
}
