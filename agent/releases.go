package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/ec2ops"
)

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

// Releases lists a source's snapshots, newest first, marks the one that a launch
// would choose, and says for every other one why not.
func Releases(ctx context.Context, cloud Cloud, source string) ([]Release, error) {
	all, err := snapshotsOf(ctx, cloud, source)
	if err != nil {
		return nil, err
	}
	return rank(source, all), nil
}

// rank is [Releases] without the calls.
func rank(source string, all []ec2ops.Snapshot) []Release {
	chosen, noneErr := newest(source, all)
	slices.SortFunc(all, func(a, b ec2ops.Snapshot) int {
		return cmp.Or(b.Start.Compare(a.Start), cmp.Compare(b.ID, a.ID))
	})
	var releases []Release
	for _, s := range all {
		r := Release{Snapshot: s.ID, Start: s.Start, SizeGiB: s.SizeGiB, State: s.State, Progress: s.Progress}
		switch why := ineligible(source, s); {
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

// snapshotsOf lists the snapshots that are eligible for a source, and those that
// were taken of it and are not.
func snapshotsOf(ctx context.Context, cloud Cloud, source string) ([]ec2ops.Snapshot, error) {
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

// find gives one of a source's snapshots by its id, or [Latest].
func find(source, id string, all []ec2ops.Snapshot) (ec2ops.Snapshot, error) {
	if id == Latest {
		return newest(source, all)
	}
	for _, s := range all {
		if s.ID == id {
			return s, nil
		}
	}
	return ec2ops.Snapshot{}, fmt.Errorf("%w: %s is no snapshot of %s in this account", ErrNoSnapshot, id, source)
}

// rejectedName is what the tag Name becomes; no source can have such a name.
func rejectedName(source string) string { return "rejected: " + source }

// rejection are the tags that take a snapshot out of the running.
func rejection(source, reason string, now time.Time) map[string]string {
	return map[string]string{
		ec2ops.TagName:     rejectedName(source),
		ec2ops.TagSource:   source,
		ec2ops.TagRejected: truncate(now.UTC().Format(time.RFC3339)+" "+strings.TrimSpace(reason), tagValueMax),
	}
}

// Reject takes a snapshot out of the running, in one call, and gives its id and
// what a launch takes now ("" for nothing). Launches that have already chosen it
// keep it.
func Reject(ctx context.Context, cloud Cloud, source, id, reason string, now time.Time) (rejected, next string, err error) {
	all, err := snapshotsOf(ctx, cloud, source)
	if err != nil {
		return "", "", err
	}
	s, err := find(source, id, all)
	if err != nil {
		return "", "", err
	}
	if err := cloud.Tag(ctx, s.ID, rejection(source, reason, now)); err != nil {
		return "", "", err
	}
	all = slices.DeleteFunc(all, func(other ec2ops.Snapshot) bool { return other.ID == s.ID })
	if left, err := newest(source, all); err == nil {
		next = left.ID
	}
	return s.ID, next, nil
}

// Promote makes a snapshot of a source eligible: a candidate after the operator's
// own checks, or a rejected one again. What spoke against it is removed first, so
// that an interrupted promotion leaves it ineligible.
func Promote(ctx context.Context, cloud Cloud, source, id string) error {
	all, err := snapshotsOf(ctx, cloud, source)
	if err != nil {
		return err
	}
	s, err := find(source, id, all)
	if err != nil {
		return err
	}
	if _, rejected := s.Tags[ec2ops.TagRejected]; rejected {
		if err := cloud.Untag(ctx, s.ID, []string{ec2ops.TagRejected}); err != nil {
			return err
		}
	}
	return cloud.Tag(ctx, s.ID, map[string]string{ec2ops.TagName: source, ec2ops.TagSource: source})
}

func truncate(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	return strings.ToValidUTF8(s[:bytes], "")
}
