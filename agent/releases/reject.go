package releases

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// Latest stands for the id of the snapshot that a launch would choose.
const Latest = "latest"

// recently is how long after a rejection [Latest] is refused: it may be the same command again,
// after a lost connection, and would reject one release more.
const recently = 10 * time.Minute

// RejectOptions are the options of [Reject].
type RejectOptions struct {
	Reason    string
	AllowNone bool // also the last eligible snapshot
	// Confirm, when set, is called before anything is changed. Its error ends Reject.
	Confirm func(Rejected) error
}

// Rejected is the outcome of [Reject].
type Rejected struct {
	Snapshot string   `json:"snapshot"`
	Copies   []string `json:"copies"` // that are rejected with it
	Already  bool     `json:"-"`      // it was rejected before, and nothing is changed
	Next     string   `json:"next"`   // what a launch takes now; "" for nothing
}

// Reject makes a snapshot and its copies ineligible, each in one call, the copies first. A
// launch that has already chosen the snapshot detects this in announce; see Config.Stale.
//
// It refuses to take the last eligible snapshot, and [Latest] if a newer one was rejected a few
// minutes ago; these errors wrap [failure.ErrUsage].
func Reject(ctx context.Context, cloud Cloud, source, id string, o RejectOptions, now time.Time) (Rejected, error) {
	all, err := All(ctx, cloud, source)
	if err != nil {
		return Rejected{}, err
	}
	c := Of(source, all)
	var s ec2ops.Snapshot
	if id == Latest {
		s, err = c.latest(now)
	} else {
		s, err = c.find(ctx, cloud, id)
	}
	if err != nil {
		return Rejected{}, err
	}
	bad, out := c.toReject(s)
	if len(bad) == 0 {
		return out, nil
	}
	if err := c.mayReject(bad, out, o); err != nil {
		return out, err
	}
	for _, b := range bad {
		if err := cloud.Tag(ctx, b.ID, Rejection(source, o.Reason, now)); err != nil {
			return Rejected{}, err
		}
	}
	return out, waitShown(ctx, cloud, s.ID, func(s ec2ops.Snapshot) bool { return Withdrawn(source, &s) != "" })
}

// latest returns what [Latest] stands for.
func (c Catalogue) latest(now time.Time) (ec2ops.Snapshot, error) {
	newest, err := c.Newest()
	if err != nil {
		return ec2ops.Snapshot{}, err
	}
	for _, s := range c.snapshots {
		if at, rejected := rejectedAt(s); rejected && now.Sub(at) < recently && c.byAge(s, newest) > 0 {
			ago := "less than a minute"
			if n := int(now.Sub(at).Minutes()); n > 0 {
				ago = fmt.Sprintf("%d min", n)
			}
			return ec2ops.Snapshot{}, config.Usagef("%s was rejected %s ago; to reject %s as well, name it", s.ID, ago, newest.ID)
		}
	}
	return newest, nil
}

// toReject returns which snapshots are to be rejected, and the outcome.
func (c Catalogue) toReject(s ec2ops.Snapshot) ([]ec2ops.Snapshot, Rejected) {
	out := Rejected{Snapshot: s.ID, Copies: []string{}}
	bad := append(copiesOf(s, c.snapshots), s)
	remaining := slices.DeleteFunc(slices.Clone(c.snapshots), func(other ec2ops.Snapshot) bool {
		return slices.ContainsFunc(bad, func(b ec2ops.Snapshot) bool { return b.ID == other.ID })
	})
	if next, err := Of(c.source, remaining).Newest(); err == nil {
		out.Next = next.ID
	}
	bad = slices.DeleteFunc(bad, func(b ec2ops.Snapshot) bool { _, already := b.Tags[ec2ops.TagRejected]; return already })
	for _, b := range bad {
		if b.ID != s.ID {
			out.Copies = append(out.Copies, b.ID)
		}
	}
	out.Already = len(bad) == 0
	return bad, out
}

// mayReject returns why these snapshots are not rejected.
func (c Catalogue) mayReject(bad []ec2ops.Snapshot, out Rejected, o RejectOptions) error {
	eligible := slices.ContainsFunc(bad, func(b ec2ops.Snapshot) bool { return Ineligible(c.source, b) == "" })
	if eligible && out.Next == "" && !o.AllowNone {
		return config.Usagef("%s is the last eligible snapshot of %s: without it every launch fails; reject it with --allow-none", out.Snapshot, c.source)
	}
	if o.Confirm != nil {
		return o.Confirm(out)
	}
	return nil
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

// rejection says when and why a snapshot was rejected, as far as its tag does: "rejected
// 2026-11-24 02:50 UTC: breaks the login".
func rejection(s ec2ops.Snapshot) string {
	text := s.Tags[ec2ops.TagRejected]
	if at, known := rejectedAt(s); known {
		_, reason, _ := strings.Cut(text, " ")
		text = strings.TrimSuffix(at.UTC().Format("2006-01-02 15:04 UTC")+": "+reason, ": ")
	}
	return strings.TrimSpace("rejected " + text)
}

// rejectedAt returns when a snapshot was rejected, if its tag says so.
func rejectedAt(s ec2ops.Snapshot) (time.Time, bool) {
	text, _, _ := strings.Cut(s.Tags[ec2ops.TagRejected], " ")
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}

// copiesOf returns the snapshots with the same data: they have the tag of the same run, or of the same
// original.
func copiesOf(s ec2ops.Snapshot, all []ec2ops.Snapshot) (copies []ec2ops.Snapshot) {
	for _, other := range all {
		same := slices.ContainsFunc([]string{ec2ops.TagRun, ec2ops.TagOriginal}, func(key string) bool {
			return s.Tags[key] != "" && s.Tags[key] == other.Tags[key]
		})
		if same && other.ID != s.ID {
			copies = append(copies, other)
		}
	}
	return copies
}

func truncate(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	return strings.ToValidUTF8(s[:bytes], "")
}
