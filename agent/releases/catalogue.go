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

// Catalogue is the snapshots of one source.
type Catalogue struct {
	source    string
	snapshots []ec2ops.Snapshot
	originals map[string]time.Time // start time of the original snapshot, by the tag of its run
}

// Of returns the catalogue of a source.
func Of(source string, all []ec2ops.Snapshot) Catalogue {
	c := Catalogue{source: source, snapshots: all, originals: map[string]time.Time{}}
	for _, s := range all {
		if run := s.Tags[ec2ops.TagRun]; run != "" && !isCopy(s) {
			c.originals[run] = s.Start
		}
	}
	return c
}

// noVolume matches the volume id that EC2 shows for many copied snapshots; for others it shows
// an arbitrary one. (alestic/ec2-expire-snapshots#7)
var noVolume = regexp.MustCompile(`^vol-f+$`)

// isCopy reports whether a snapshot was made by CopySnapshot: EC2 says so, or shows another
// volume than the one that the snapshot was taken of. A snapshot with the tag of our own copies counts
// as one, so that a copy of such a copy does too.
func isCopy(s ec2ops.Snapshot) bool {
	taken := s.Tags[ec2ops.TagVolume]
	return s.Copy || s.Tags[ec2ops.TagOriginal] != "" || noVolume.MatchString(s.VolumeID) || taken != "" && s.VolumeID != "" && taken != s.VolumeID
}

// taken returns when the data of a snapshot was taken. A copy has the tags of its original but
// its own start time, which is used only if nothing else is known. The original may be in another
// region: [Copy] tags its copies with the time.
func (c Catalogue) taken(s ec2ops.Snapshot) time.Time {
	if at, known := c.originals[s.Tags[ec2ops.TagRun]]; known {
		return at
	}
	if _, text, _ := strings.Cut(s.Tags[ec2ops.TagPromoted], " "); isPromoted(s) {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, s.Tags[ec2ops.TagTaken]); err == nil && isCopy(s) {
		return at
	}
	return s.Start
}

// promotion returns the value of the tag that makes a copy eligible: its id, so that a copy of
// it is not eligible too, and when its data was taken, in case the original is deleted.
func promotion(id string, taken time.Time) string {
	return id + " " + taken.UTC().Format(time.RFC3339Nano)
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

// isBackup reports whether a snapshot's tags were copied from a volume.
func isBackup(s ec2ops.Snapshot) bool {
	return slices.ContainsFunc(volumeTags, func(key string) bool { _, has := s.Tags[key]; return has })
}

// Ineligible says why a launch can't use a snapshot; "" if it can.
func Ineligible(source string, s ec2ops.Snapshot) string {
	_, rejected := s.Tags[ec2ops.TagRejected]
	switch {
	case ec2ops.UnknownFormat(s.Tags) != "":
		return "made by a later version of snapsource (tags of format " + ec2ops.UnknownFormat(s.Tags) + ")"
	case rejected:
		return rejection(s)
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

// willBeEligible reports whether a snapshot is eligible, or will be once EC2 has completed it.
func willBeEligible(source string, s ec2ops.Snapshot) bool {
	if s.State == ec2ops.SnapshotPending {
		s.State = ec2ops.SnapshotCompleted
	}
	return Ineligible(source, s) == ""
}

// Newest returns the snapshot that a launch takes: the eligible one with the newest data. If
// there is none, the error says why the newest snapshots are not eligible. It wraps
// [failure.ErrNoSnapshot], or [failure.ErrTemporary] if one is pending. A newer release with tags that
// this version does not understand is an error too: the older one would be served silently.
func (c Catalogue) Newest() (ec2ops.Snapshot, error) {
	var eligible, others []ec2ops.Snapshot
	for _, s := range c.snapshots {
		if Ineligible(c.source, s) == "" {
			eligible = append(eligible, s)
		} else {
			others = append(others, s)
		}
	}
	if len(eligible) == 0 {
		return ec2ops.Snapshot{}, c.noSnapshot(others)
	}
	newest := slices.MaxFunc(eligible, c.byAge)
	for _, s := range others {
		if c.isLater(s) && c.byAge(s, newest) > 0 {
			return ec2ops.Snapshot{}, failure.Advise(fmt.Errorf("%w: %s is newer than %s, and %s", ErrLaterFormat, s.ID, newest.ID, Ineligible(c.source, s)),
				"install that version; to launch the older release nevertheless, remove the tag Name of "+s.ID)
		}
	}
	return newest, nil
}

// ErrLaterFormat is a [failure.ErrNoSnapshot]: a release exists, but a later version of snapsource has made
// it. A blank volume in its place would be an empty Source.
var ErrLaterFormat = fmt.Errorf("%w that this version of snapsource can launch", failure.ErrNoSnapshot)

// isLater reports whether a snapshot is a release that a later version of snapsource has made.
func (c Catalogue) isLater(s ec2ops.Snapshot) bool {
	return ec2ops.UnknownFormat(s.Tags) != "" && s.Tags[ec2ops.TagName] == c.source
}

// NewerThan returns the newest snapshot, completed or pending, with newer data than the volume:
// newer than the volume's own snapshot and those taken of it since.
func (c Catalogue) NewerThan(v ec2ops.Volume) (newer ec2ops.Snapshot, found bool) {
	held, holds := c.Holds(v)
	for _, s := range c.snapshots {
		if !willBeEligible(c.source, s) && !c.isLater(s) || found && c.byAge(s, newer) <= 0 {
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

// Holds returns the newest listed release on a volume: the snapshot that it was created from,
// or one taken of it since. Backups do not count.
func (c Catalogue) Holds(v ec2ops.Volume) (held ec2ops.Snapshot, listed bool) {
	for _, s := range c.snapshots {
		related := s.ID == v.SnapshotID || s.VolumeID == v.ID && !isCopy(s) && !isBackup(s)
		if related && (!listed || c.byAge(s, held) > 0) {
			held, listed = s, true
		}
	}
	return held, listed
}

// Gone is what [Withdrawn] returns for a snapshot that does not exist.
const Gone = "gone"

// Find returns a snapshot by its id.
func (c Catalogue) Find(id string) (ec2ops.Snapshot, bool) {
	for _, s := range c.snapshots {
		if s.ID == id {
			return s, true
		}
	}
	return ec2ops.Snapshot{}, false
}

// Withdrawn says why a snapshot is no longer a release; "" if it still is. s is the snapshot as
// EC2 shows it now, nil if it does not exist.
func Withdrawn(source string, s *ec2ops.Snapshot) string {
	if s == nil {
		return Gone
	}
	if _, rejected := s.Tags[ec2ops.TagRejected]; rejected || s.Tags[ec2ops.TagName] != source {
		return Ineligible(source, *s)
	}
	return ""
}

// StartedSince reports whether the instance was stopped and started after the volume was
// created, and no launch has handled this start: the instance may have missed deployments. A
// start changes the pendingTime in the identity document, a reboot does not. The volume is
// tagged with that of the last handled start. (EC2 user guide, "Stop and start your
// instance"; mlevit/aws-auto-cleanup#129)
func StartedSince(v ec2ops.Volume, self ec2ops.Identity) bool {
	return !self.Launched.IsZero() && v.Created.Before(self.Launched) && v.Tags[ec2ops.TagStarted] != StartTag(self)
}

// StartTag returns the value of the tag [ec2ops.TagStarted] for the instance's last start.
func StartTag(self ec2ops.Identity) string { return self.Launched.UTC().Format(time.RFC3339) }

// Completed returns the catalogue of the completed snapshots.
func (c Catalogue) Completed() Catalogue {
	var completed []ec2ops.Snapshot
	for _, s := range c.snapshots {
		if s.State == ec2ops.SnapshotCompleted {
			completed = append(completed, s)
		}
	}
	return Of(c.source, completed)
}
