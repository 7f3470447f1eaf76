package releases

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// shownIneligible is how many ineligible snapshots an error names.
const shownIneligible = 3

// noSnapshot returns the error of [Catalogue.Newest]: the newest of the ineligible snapshots,
// each with the reason, and what to do. Only a source without any snapshot may need init: to
// others its blank volume would be an empty Source.
func (c Catalogue) noSnapshot(ineligible []ec2ops.Snapshot) error {
	if len(ineligible) == 0 {
		return failure.Advise(
			fmt.Errorf("%w of %s: this account has no snapshot with the tag Name=%s in this region", failure.ErrNoSnapshot, c.source, c.source),
			"check the source's name and the region; if there never was a snapshot, snapsource init makes the first volume")
	}
	sort.SliceStable(ineligible, func(i, j int) bool { return c.byAge(ineligible[j], ineligible[i]) < 0 })
	var list []string
	for _, s := range ineligible[:min(len(ineligible), shownIneligible)] {
		list = append(list, fmt.Sprintf("%s (%s UTC) is %s", s.ID, c.taken(s).UTC().Format("2006-01-02 15:04"), Ineligible(c.source, s)))
	}
	text := strings.Join(list, "; ")
	if more := len(ineligible) - len(list); more > 0 {
		text += fmt.Sprintf("; and %d older", more)
	}
	for _, s := range ineligible {
		if willBeEligible(c.source, s) {
			return failure.Advise(failure.New(failure.ErrTemporary, fmt.Sprintf("%s of %s yet: %s", failure.ErrNoSnapshot, c.source, text)),
				"run it again once EC2 has completed "+s.ID+" ("+strings.TrimSpace(s.State+" "+s.Progress)+")")
		}
	}
	if slices.ContainsFunc(ineligible, c.isLater) {
		return failure.Advise(fmt.Errorf("%w: %s", ErrLaterFormat, text), "install that version")
	}
	return failure.Advise(fmt.Errorf("%w of %s: %s", failure.ErrNoSnapshot, c.source, text), promoteAdvice(ineligible))
}

// promoteAdvice says how to make one of the snapshots eligible: the newest, but a rejected one
// only if there is no other. They are sorted.
func promoteAdvice(ineligible []ec2ops.Snapshot) string {
	for _, rejected := range []bool{false, true} {
		for _, s := range ineligible {
			_, is := s.Tags[ec2ops.TagRejected]
			if is == rejected && ec2ops.UnknownFormat(s.Tags) == "" && s.State == ec2ops.SnapshotCompleted && s.Tier != ec2ops.TierArchive {
				return "if this release is good, run snapsource promote " + s.ID + "; snapsource snapshots lists them all"
			}
		}
	}
	for _, s := range ineligible {
		if s.Tier == ec2ops.TierArchive {
			return "restore " + s.ID + " from the archive (aws ec2 restore-snapshot-tier), then run snapsource promote " + s.ID
		}
	}
	return "take a snapshot on an instance that has the release (snapsource snapshot); snapsource snapshots lists them all"
}
