package releases

import (
	"maps"
	"slices"
	"strings"
	"time"

	"snapsource/agent/record"
	"snapsource/ec2ops"
)

// originalTag returns the value of [ec2ops.TagOriginal].
func originalTag(o *record.CopyOf) string { return o.Original + " " + o.Region }

// copyOf is [Origin] for a snapshot of the catalogue, which may have the original too.
func (c Catalogue) copyOf(s *ec2ops.Snapshot) *record.CopyOf {
	id, region, ok := strings.Cut(s.Tags[ec2ops.TagOriginal], " ")
	if !ok {
		return nil
	}
	return &record.CopyOf{Original: id, Region: region, Taken: c.taken(*s)}
}

// Origin returns what one of our own copies is a copy of; nil for any other snapshot.
func Origin(s *ec2ops.Snapshot) *record.CopyOf { return Catalogue{}.copyOf(s) }

// Taken returns when the data of a snapshot was taken, as far as the snapshot itself tells: its start, or
// that of its original.
func Taken(s *ec2ops.Snapshot) time.Time { return Catalogue{}.taken(*s) }

// original returns what a copy of a snapshot of this region is a copy of: the snapshot, or what that
// is a copy of itself. So all copies of a release name the same original, and have its time.
func (c Catalogue) original(s *ec2ops.Snapshot, region string) record.CopyOf {
	if o := c.copyOf(s); o != nil {
		return *o
	}
	return record.CopyOf{Original: s.ID, Region: region, Taken: c.taken(*s)}
}

// maxTags is EC2's limit for a resource. (EC2 user guide, "Tag restrictions")
const maxTags = 50

// copyTags returns the tags for a copy of a release. They do not make it eligible yet:
// [ec2ops.TagPromoted] does, which holds the copy's own id. If they are more than EC2 permits, those
// of other tools are left out.
func copyTags(source string, s *ec2ops.Snapshot, o *record.CopyOf) map[string]string {
	tags := map[string]string{
		ec2ops.TagName: source, ec2ops.TagSource: source,
		ec2ops.TagOriginal: originalTag(o), ec2ops.TagTaken: o.Taken.UTC().Format(time.RFC3339Nano),
	}
	for _, key := range []string{ec2ops.TagRun, ec2ops.TagRevision, ec2ops.TagInstance, ec2ops.TagVolume} {
		if value, has := s.Tags[key]; has {
			tags[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
		other := key != ec2ops.TagName && !strings.HasPrefix(key, "snapsource:") && !strings.HasPrefix(key, "aws:")
		if other && len(tags) < maxTags-1 {
			tags[key] = s.Tags[key]
		}
	}
	return tags
}

// present returns the snapshot of this region that has the data of an original, nil for none: the
// original itself or a copy of it, if possible one that is, or will be, eligible. A copy that EC2 could
// not complete does not count, nor does a backup, nor what another tool has copied from a copy: that tool
// deletes it again.
func (c Catalogue) present(o *record.CopyOf) (found *ec2ops.Snapshot) {
	best := 0
	for i := range c.snapshots {
		s := &c.snapshots[i]
		rank := 1
		_, rejected := s.Tags[ec2ops.TagRejected]
		_, ofAnother := s.Tags[ec2ops.TagPromoted]
		switch {
		case s.State == ec2ops.SnapshotFailed, isBackup(*s), s.ID != o.Original && s.Tags[ec2ops.TagOriginal] != originalTag(o):
			continue
		case willBeEligible(c.source, *s):
			rank = 3
		case rejected:
			rank = 2
		case ofAnother && !isPromoted(*s):
			continue
		}
		if rank > best || rank == best && s.ID < found.ID {
			best, found = rank, s
		}
	}
	return found
}

// unfinished reports whether a copy lacks the tag that makes it eligible: an earlier run ended before it
// was set. A person may have rejected the copy since.
func unfinished(s *ec2ops.Snapshot) bool {
	_, rejected := s.Tags[ec2ops.TagRejected]
	return s.Tags[ec2ops.TagOriginal] != "" && !rejected && !isPromoted(*s)
}

// abandoned reports whether a snapshot is a copy that [Copy] left behind: EC2 could not complete it, or the
// run ended before it was eligible. A copy that another tool made of one of ours has that one's promotion.
func abandoned(source string, s ec2ops.Snapshot) bool {
	_, promoted := s.Tags[ec2ops.TagPromoted]
	ours := s.Copy && s.Tags[ec2ops.TagName] == source && s.Tags[ec2ops.TagOriginal] != "" && !isBackup(s) && (isPromoted(s) || !promoted)
	switch s.State {
	case ec2ops.SnapshotFailed:
		return ours
	case ec2ops.SnapshotCompleted:
		return ours && !promoted
	}
	return false
}

// pending returns the newest snapshot that will be eligible once EC2 has completed it; nil if one that
// is eligible is newer.
func (c Catalogue) pending() (newest *ec2ops.Snapshot) {
	for i := range c.snapshots {
		s := &c.snapshots[i]
		if willBeEligible(c.source, *s) && (newest == nil || c.byAge(*s, *newest) > 0) {
			newest = s
		}
	}
	if newest == nil || newest.State != ec2ops.SnapshotPending {
		return nil
	}
	return newest
}
