package releases

import (
	"context"
	"maps"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// Promoted is the outcome of [Promote].
type Promoted struct {
	Snapshot string `json:"snapshot"`
	Already  bool   `json:"-"`                 // it was promoted before, and nothing is changed
	WhyNot   string `json:"why_not,omitempty"` // why a launch can't use it yet: "pending"
	Next     string `json:"next"`              // what a launch takes now; "" for nothing
}

// Promote makes a snapshot of a source eligible: a candidate, a rejected one, a copy, or a
// backup whose tags were copied from a volume. It removes the other tags before it sets Name,
// so that an interrupted promotion leaves the snapshot ineligible. A snapshot of a later version is
// refused: [failure.ErrUsage].
func Promote(ctx context.Context, cloud Cloud, source, id string) (Promoted, error) {
	all, err := All(ctx, cloud, source)
	if err != nil {
		return Promoted{}, err
	}
	c := Of(source, all)
	s, err := c.find(ctx, cloud, id)
	if err != nil {
		return Promoted{}, err
	}
	if format := ec2ops.UnknownFormat(s.Tags); format != "" {
		return Promoted{}, failure.Advise(config.Usagef("%s has tags of format %s, which this version of snapsource does not know: it could not launch it", s.ID, format),
			"promote it with the version that made it, or a later one")
	}
	remove, tags := c.promotionTags(s)
	out := c.promoted(s, remove, tags)
	if out.Already {
		return out, nil
	}
	if len(remove) > 0 {
		if err := cloud.Untag(ctx, s.ID, remove); err != nil {
			return Promoted{}, err
		}
	}
	if err := cloud.Tag(ctx, s.ID, tags); err != nil {
		return Promoted{}, err
	}
	return out, waitShown(ctx, cloud, s.ID, func(s ec2ops.Snapshot) bool { return s.Tags[ec2ops.TagName] == source })
}

// promotionTags returns the tags to remove and to set, so that a snapshot is promoted.
func (c Catalogue) promotionTags(s ec2ops.Snapshot) (remove, set map[string]string) {
	remove = map[string]string{}
	for _, key := range append([]string{ec2ops.TagRejected}, volumeTags...) {
		if _, has := s.Tags[key]; has {
			remove[key] = ""
		}
	}
	set = map[string]string{ec2ops.TagName: c.source, ec2ops.TagSource: c.source}
	if isCopy(s) {
		set[ec2ops.TagPromoted] = promotion(s.ID, c.taken(s))
	}
	return remove, set
}

// promoted returns the outcome for a snapshot that gets these tags.
func (c Catalogue) promoted(s ec2ops.Snapshot, remove, set map[string]string) Promoted {
	asIfReady := s
	asIfReady.State, asIfReady.Tier = ec2ops.SnapshotCompleted, ""
	out := Promoted{Snapshot: s.ID, Already: Ineligible(c.source, asIfReady) == ""}

	after := s
	after.Tags = maps.Clone(s.Tags)
	maps.DeleteFunc(after.Tags, func(key, _ string) bool { _, gone := remove[key]; return gone })
	maps.Copy(after.Tags, set)
	out.WhyNot = Ineligible(c.source, after)
	all := []ec2ops.Snapshot{after}
	for _, other := range c.snapshots {
		if other.ID != s.ID {
			all = append(all, other)
		}
	}
	if next, err := Of(c.source, all).Newest(); err == nil {
		out.Next = next.ID
	}
	return out
}
