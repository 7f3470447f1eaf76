// Package releases decides which snapshots of a source are releases and which one a launch
// takes. It rejects, promotes and prunes snapshots.
package releases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/record"
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

// byID finds a snapshot by its id.
type byID interface {
	SnapshotByID(ctx context.Context, id string) (s ec2ops.Snapshot, known bool, err error)
}

// Release is a snapshot of a source, as a launch sees it.
type Release struct {
	Snapshot    string         `json:"snapshot"`
	Start       time.Time      `json:"start"`
	SizeGiB     int32          `json:"size_gib"`
	State       string         `json:"state"`
	Progress    string         `json:"progress,omitempty"`
	Revision    string         `json:"revision,omitempty"`
	Instance    string         `json:"instance,omitempty"` // that took it
	Description string         `json:"description,omitempty"`
	CopyOf      *record.CopyOf `json:"copy_of,omitempty"`
	Chosen      bool           `json:"chosen"`            // a launch takes this one
	WhyNot      string         `json:"why_not,omitempty"` // for every other one
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
	sort.SliceStable(all, func(i, j int) bool { return c.byAge(all[j], all[i]) < 0 })
	var releases []Release
	for _, s := range all {
		r := Release{Snapshot: s.ID, Start: s.Start, SizeGiB: s.SizeGiB, State: s.State, Progress: s.Progress,
			Revision: s.Tags[ec2ops.TagRevision], Instance: s.Tags[ec2ops.TagInstance], Description: s.Description,
			CopyOf: c.copyOf(&s)}
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

// CheckID refuses what can't be the id of a snapshot: such an id has 8 hexadecimal digits, 17 since
// 2016. (EC2 user guide, "Resource IDs") The error wraps [failure.ErrUsage].
func CheckID(id string) error {
	digits, ok := strings.CutPrefix(id, "snap-")
	if ok && (len(digits) == 8 || len(digits) == 17) && strings.Trim(digits, "0123456789abcdef") == "" {
		return nil
	}
	return config.Usagef("%q is not the id of a snapshot; snapsource snapshots lists them", id)
}

// findTimeout bounds the search for a snapshot that no list of its source has.
const findTimeout = 5 * time.Second

// find returns one of a source's snapshots by its id.
func (c Catalogue) find(ctx context.Context, cloud byID, id string) (ec2ops.Snapshot, error) {
	if s, known := c.Find(id); known {
		return s, nil
	}
	short, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	s, known, err := cloud.SnapshotByID(short, id)
	if err != nil && (ctx.Err() != nil || !errors.Is(err, ec2ops.ErrNotFound)) {
		return ec2ops.Snapshot{}, err
	}
	owner := cmp.Or(s.Tags[ec2ops.TagSource], s.Tags[ec2ops.TagCandidate], s.Tags[ec2ops.TagName])
	switch {
	case !known:
		return ec2ops.Snapshot{}, noSuchSnapshot(cloud, id)
	case owner == c.source: // the lists did not have it yet
		return s, nil
	case owner == "":
		return ec2ops.Snapshot{}, config.Usagef("%s is no snapshot of %s: it has no tag that names a source", id, c.source)
	}
	return ec2ops.Snapshot{}, config.Usagef("%s is a snapshot of %s, not of %s; name its source with --source", id, owner, c.source)
}

// noSuchSnapshot is the error of an id that no snapshot has. It names the region if the cloud does.
func noSuchSnapshot(cloud byID, id string) error {
	in := ""
	if of, ok := cloud.(interface{ Region() string }); ok && of.Region() != "" {
		in = " (" + of.Region() + ")"
	}
	return failure.Advise(config.Usagef("there is no snapshot %s in this account and region%s", id, in),
		"snapsource snapshots lists those of the source; --region chooses another region")
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
func waitShown(ctx context.Context, cloud byID, id string, done func(ec2ops.Snapshot) bool) error {
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
