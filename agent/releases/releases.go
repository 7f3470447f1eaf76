// Package releases decides which snapshots of a source are releases and which one a launch
// takes. It rejects, promotes and prunes snapshots.
package releases

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// Cloud is what the releases of a source need of AWS. *ec2ops.Client implements it.
type Cloud interface {
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error)
	SnapshotByID(ctx context.Context, id string) (s ec2ops.Snapshot, known bool, err error)
	Tag(ctx context.Context, id string, tags map[string]string) error
	Untag(ctx context.Context, id string, remove map[string]string) error
	VolumesOf(ctx context.Context, source string) ([]ec2ops.Volume, error)
	Alive(ctx context.Context, instanceIDs []string) (map[string]bool, error)
	DeleteVolume(ctx context.Context, id string) error
	DeleteSnapshot(ctx context.Context, id string) error
}

// Tagged lists snapshots by a tag of theirs. *ec2ops.Client implements it.
type Tagged interface {
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error)
}

// Release is a snapshot of a source, as a launch sees it.
type Release struct {
	Snapshot string    `json:"snapshot"`
	Start    time.Time `json:"start"`
	SizeGiB  int32     `json:"size_gib"`
	State    string    `json:"state"`
	Progress string    `json:"progress,omitempty"`
	Chosen   bool      `json:"chosen"`            // a launch takes this one
	WhyNot   string    `json:"why_not,omitempty"` // for every other one
}

// List lists a source's snapshots, newest first. It marks the one that a launch takes, and says
// for every other one why not.
func List(ctx context.Context, cloud Tagged, source string) ([]Release, error) {
	all, err := All(ctx, cloud, source)
	if err != nil {
		return nil, err
	}
	return Of(source, all).list(), nil
}

// list is [List] without the calls.
func (c Catalogue) list() []Release {
	chosen, noneErr := c.Newest()
	all := slices.Clone(c.snapshots)
	slices.SortStableFunc(all, func(a, b ec2ops.Snapshot) int { return c.byAge(b, a) })
	var releases []Release
	for _, s := range all {
		r := Release{Snapshot: s.ID, Start: s.Start, SizeGiB: s.SizeGiB, State: s.State, Progress: s.Progress}
		switch why := Ineligible(c.source, s); {
		case why != "":
			r.WhyNot = why
		case noneErr == nil && s.ID == chosen.ID:
			r.Chosen = true
		default:
			r.WhyNot = "older"
		}
		releases = append(releases, r)
	}
	return releases
}

// All lists a source's snapshots by the tag Name or the tag of their source, eligible or not.
func All(ctx context.Context, cloud Tagged, source string) ([]ec2ops.Snapshot, error) {
	var all []ec2ops.Snapshot
	for _, key := range []string{ec2ops.TagName, ec2ops.TagSource} {
		found, err := cloud.SnapshotsTagged(ctx, key, source)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			if !slices.ContainsFunc(all, func(known ec2ops.Snapshot) bool { return known.ID == s.ID }) {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// Latest stands for the id of the snapshot that a launch would choose.
const Latest = "latest"

// find returns one of a source's snapshots by its id, or [Latest].
func find(source, id string, all []ec2ops.Snapshot) (ec2ops.Snapshot, error) {
	c := Of(source, all)
	if id == Latest {
		return c.Newest()
	}
	if s, known := c.Find(id); known {
		return s, nil
	}
	return ec2ops.Snapshot{}, fmt.Errorf("%w: %s is no snapshot of %s in this account", failure.ErrNoSnapshot, id, source)
}

// rejectedName is the tag Name of a rejected snapshot; no source can have such a name.
func rejectedName(source string) string { return "rejected: " + source }

// Rejection returns the tags that reject a snapshot.
func Rejection(source, reason string, now time.Time) map[string]string {
	return map[string]string{
		ec2ops.TagName:     rejectedName(source),
		ec2ops.TagSource:   source,
		ec2ops.TagRejected: truncate(now.UTC().Format(time.RFC3339)+" "+strings.TrimSpace(reason), config.TagValueMax),
	}
}

// Reject makes a snapshot and its copies ineligible, each in one call, the copies first. It
// returns the snapshot's id and the id of what a launch takes now, "" for none. A launch that
// has already chosen the snapshot detects this in announce; see Config.Stale.
func Reject(ctx context.Context, cloud Cloud, source, id, reason string, now time.Time) (rejected, next string, err error) {
	all, err := All(ctx, cloud, source)
	if err != nil {
		return "", "", err
	}
	s, err := find(source, id, all)
	if err != nil {
		return "", "", err
	}
	bad := append(copiesOf(s, all), s)
	for _, b := range bad {
		if err := cloud.Tag(ctx, b.ID, Rejection(source, reason, now)); err != nil {
			return "", "", err
		}
	}
	if err := waitShown(ctx, cloud, s.ID, func(s ec2ops.Snapshot) bool { return Withdrawn(source, &s) != "" }); err != nil {
		return "", "", err
	}
	all = slices.DeleteFunc(all, func(other ec2ops.Snapshot) bool {
		return slices.ContainsFunc(bad, func(b ec2ops.Snapshot) bool { return b.ID == other.ID })
	})
	if remaining, err := Of(source, all).Newest(); err == nil {
		next = remaining.ID
	}
	return s.ID, next, nil
}

const (
	// shownTimeout is how long EC2 may take to show a change. It is eventually consistent,
	// usually within a few seconds.
	shownTimeout = 30 * time.Second
	// shownPoll is the poll interval meanwhile.
	shownPoll = time.Second
)

// waitShown polls until EC2 shows a change of a snapshot, so that the next command, for example
// a prune, sees it. A timeout is no error, as EC2 has accepted the change.
func waitShown(ctx context.Context, cloud Cloud, id string, done func(ec2ops.Snapshot) bool) error {
	for until := time.Now().Add(shownTimeout); ; {
		s, known, err := cloud.SnapshotByID(ctx, id)
		if err != nil || !known || done(s) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until EC2 shows the tags of %s: %w", id, context.Cause(ctx))
		case <-time.After(shownPoll):
		}
	}
}

// copiesOf returns the snapshots with the same data: they have the tag of the same run.
func copiesOf(s ec2ops.Snapshot, all []ec2ops.Snapshot) (copies []ec2ops.Snapshot) {
	run := s.Tags[ec2ops.TagRun]
	for _, other := range all {
		if run != "" && other.ID != s.ID && other.Tags[ec2ops.TagRun] == run {
			copies = append(copies, other)
		}
	}
	return copies
}

// Promote makes a snapshot of a source eligible: a candidate, a rejected one, a copy, or a
// backup whose tags were copied from a volume. It removes the other tags before it sets Name,
// so that an interrupted promotion leaves the snapshot ineligible.
func Promote(ctx context.Context, cloud Cloud, source, id string) error {
	all, err := All(ctx, cloud, source)
	if err != nil {
		return err
	}
	s, err := find(source, id, all)
	if err != nil {
		return err
	}
	remove := map[string]string{}
	for _, key := range append([]string{ec2ops.TagRejected}, volumeTags...) {
		if _, has := s.Tags[key]; has {
			remove[key] = ""
		}
	}
	if len(remove) > 0 {
		if err := cloud.Untag(ctx, s.ID, remove); err != nil {
			return err
		}
	}
	tags := map[string]string{ec2ops.TagName: source, ec2ops.TagSource: source}
	if isCopy(s) {
		tags[ec2ops.TagPromoted] = Of(source, all).promotion(s)
	}
	if err := cloud.Tag(ctx, s.ID, tags); err != nil {
		return err
	}
	return waitShown(ctx, cloud, s.ID, func(s ec2ops.Snapshot) bool { return s.Tags[ec2ops.TagName] == source })
}

func truncate(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	return strings.ToValidUTF8(s[:bytes], "")
}
