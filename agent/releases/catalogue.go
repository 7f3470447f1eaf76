package releases

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// Catalogue is the snapshots of one source, and what they tell of each other.
type Catalogue struct {
	source    string
	snapshots []ec2ops.Snapshot
	originals map[string]time.Time // when the run that took a snapshot took it
}

// Of gives the catalogue of a source.
func Of(source string, all []ec2ops.Snapshot) Catalogue {
	c := Catalogue{source: source, snapshots: all, originals: map[string]time.Time{}}
	for _, s := range all {
		if run := s.Tags[ec2ops.TagRun]; run != "" && !isCopy(s) {
			c.originals[run] = s.Start
		}
	}
	return c
}

// noVolume is what EC2 shows as the volume of a copied snapshot, if it is not an id that
// it has made up for it. (alestic/ec2-expire-snapshots#7)
var noVolume = regexp.MustCompile(`^vol-f+$`)

// isCopy says whether CopySnapshot has made a snapshot: EC2 says so, or names a volume of
// which it was not taken.
func isCopy(s ec2ops.Snapshot) bool {
	taken := s.Tags[ec2ops.TagVolume]
	return s.Copy || noVolume.MatchString(s.VolumeID) || taken != "" && s.VolumeID != "" && taken != s.VolumeID
}

// taken is when the data in a snapshot was taken. A copy has the tags of its original but
// a start time of its own, which counts only if nothing else is known.
func (c Catalogue) taken(s ec2ops.Snapshot) time.Time {
	if at, known := c.originals[s.Tags[ec2ops.TagRun]]; known {
		return at
	}
	if _, text, _ := strings.Cut(s.Tags[ec2ops.TagPromoted], " "); isPromoted(s) {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at
		}
	}
	return s.Start
}

// promotion is the value of the tag that makes a copy eligible: its own id, which a copy
// of it does not have, and when its data was taken, for when its original is gone.
func (c Catalogue) promotion(s ec2ops.Snapshot) string {
	return s.ID + " " + c.taken(s).UTC().Format(time.RFC3339Nano)
}

func isPromoted(s ec2ops.Snapshot) bool {
	id, _, _ := strings.Cut(s.Tags[ec2ops.TagPromoted], " ")
	return isCopy(s) && id == s.ID
}

// byAge orders snapshots from the oldest to the newest.
func (c Catalogue) byAge(a, b ec2ops.Snapshot) int {
	return cmp.Or(c.taken(a).Compare(c.taken(b)), a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
}

// volumeTags are the tags that only volumes get from snapsource. Amazon Data Lifecycle
// Manager (with "copy tags"), AWS Backup and others put all tags of a volume on the
// snapshots that they take of it, Name included: these are backups, at any moment of a
// deployment. (cloud-custodian#3787)
var volumeTags = []string{ec2ops.TagSnapshot, ec2ops.TagFormatted, ec2ops.TagStarted}

// isBackup says whether a snapshot has its tags from a volume.
func isBackup(s ec2ops.Snapshot) bool {
	return slices.ContainsFunc(volumeTags, func(key string) bool { _, has := s.Tags[key]; return has })
}

// Ineligible says why a snapshot can't be launched from; "" when it can.
func Ineligible(source string, s ec2ops.Snapshot) string {
	reason, rejected := s.Tags[ec2ops.TagRejected]
	switch {
	case rejected:
		return strings.TrimSpace("rejected " + reason)
	case isBackup(s):
		return "its tags are copied from a volume"
	case s.Tags[ec2ops.TagName] != source && s.Tags[ec2ops.TagSource] == source:
		return "not promoted"
	case s.Tags[ec2ops.TagName] != source:
		return "of another source"
	case isCopy(s) && !isPromoted(s):
		return "a copy of a snapshot, not promoted"
	case s.State != ec2ops.SnapshotCompleted:
		return s.State
	case s.Tier == ec2ops.TierArchive:
		return "archived"
	}
	return ""
}

// coming says whether a snapshot is eligible, or will be once EC2 has completed it.
func willBeEligible(source string, s ec2ops.Snapshot) bool {
	if s.State == ec2ops.SnapshotPending {
		s.State = ec2ops.SnapshotCompleted
	}
	return Ineligible(source, s) == ""
}

// Newest gives the snapshot that a launch starts from: of this source, completed,
// not archived, with the newest data. The error wraps [failure.ErrNoSnapshot] and says what there
// is instead.
func (c Catalogue) Newest() (ec2ops.Snapshot, error) {
	var eligible []ec2ops.Snapshot
	others, pending := map[string]int{}, false
	for _, s := range c.snapshots {
		if why := Ineligible(c.source, s); why != "" {
			others[why]++
			pending = pending || willBeEligible(c.source, s)
			continue
		}
		eligible = append(eligible, s)
	}
	if len(eligible) == 0 {
		return ec2ops.Snapshot{}, noSnapshot(c.source, others, pending)
	}
	return slices.MaxFunc(eligible, c.byAge), nil
}

// noSnapshot is [failure.ErrTemporary] if there will be one once EC2 has completed it.
func noSnapshot(source string, others map[string]int, pending bool) error {
	kind := failure.ErrNoSnapshot
	if pending {
		kind = failure.New(failure.ErrTemporary, failure.ErrNoSnapshot.Error()+" yet")
	}
	if len(others) == 0 {
		return fmt.Errorf("%w: this account has no snapshot with the tag Name=%s", failure.ErrNoSnapshot, source)
	}
	var list []string
	for why, n := range others {
		list = append(list, fmt.Sprintf("%d %s", n, why))
	}
	slices.Sort(list)
	return fmt.Errorf("%w: of the snapshots with the tag Name=%s none is completed and ready: %s", kind, source, strings.Join(list, ", "))
}

// NewerThan gives the newest snapshot, completed or pending, that holds newer data than
// the volume: than the snapshot that it was made from, and than those that were taken of
// it since.
func (c Catalogue) NewerThan(v ec2ops.Volume) (newer ec2ops.Snapshot, found bool) {
	held, holds := c.Holds(v)
	for _, s := range c.snapshots {
		if !willBeEligible(c.source, s) || found && c.byAge(s, newer) <= 0 {
			continue
		}
		switch {
		case holds && !c.taken(s).After(c.taken(held)):
		case !holds && !c.taken(s).After(v.Created): // its own snapshot is deleted
		default:
			newer, found = s, true
		}
	}
	return newer, found
}

// Holds gives the newest of the listed releases that a volume holds: the snapshot that it
// was made from, or one that was taken of it since. A backup says nothing of the release
// that it holds.
func (c Catalogue) Holds(v ec2ops.Volume) (held ec2ops.Snapshot, listed bool) {
	for _, s := range c.snapshots {
		related := s.ID == v.SnapshotID || s.VolumeID == v.ID && !isCopy(s) && !isBackup(s)
		if related && (!listed || c.byAge(s, held) > 0) {
			held, listed = s, true
		}
	}
	return held, listed
}

// Gone is what [Withdrawn] says of a snapshot that EC2 does not know.
const Gone = "gone"

// Find gives one of the snapshots by its id.
func (c Catalogue) Find(id string) (ec2ops.Snapshot, bool) {
	for _, s := range c.snapshots {
		if s.ID == id {
			return s, true
		}
	}
	return ec2ops.Snapshot{}, false
}

// Withdrawn says why the snapshot that a volume was made from is no release any more, by
// what EC2 says of the snapshot now, nil if it does not know it; "" when it is still one.
func Withdrawn(source string, s *ec2ops.Snapshot) string {
	if s == nil {
		return Gone
	}
	if _, rejected := s.Tags[ec2ops.TagRejected]; rejected || s.Tags[ec2ops.TagName] != source {
		return Ineligible(source, *s)
	}
	return ""
}

// StartedSince says whether the instance was stopped and started since the volume was
// made, and this start has not been dealt with: deployments may have passed it by. A
// start has a new pendingTime in the instance's identity document, a reboot has not; the
// volume is tagged with that of the last start that was dealt with. (EC2 user guide,
// "Stop and start your instance"; mlevit/aws-auto-cleanup#129)
func StartedSince(v ec2ops.Volume, self ec2ops.Identity) bool {
	return !self.Launched.IsZero() && v.Created.Before(self.Launched) && v.Tags[ec2ops.TagStarted] != StartTag(self)
}

// StartTag is the value of the tag [ec2ops.TagStarted] for the instance's present start.
func StartTag(self ec2ops.Identity) string { return self.Launched.UTC().Format(time.RFC3339) }

// Completed is the catalogue without what EC2 has not completed.
func (c Catalogue) Completed() Catalogue {
	var completed []ec2ops.Snapshot
	for _, s := range c.snapshots {
		if s.State == ec2ops.SnapshotCompleted {
			completed = append(completed, s)
		}
	}
	return Of(c.source, completed)
}
