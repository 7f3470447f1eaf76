package ec2ops

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// The tags that hold snapsource's state.
const (
	TagName      = "Name"                 // on eligible snapshots: the source
	TagSource    = "snapsource:source"    // on volumes: the source
	TagInstance  = "snapsource:instance"  // on volumes: the instance; on an instance with roles: its own id
	TagSnapshot  = "snapsource:snapshot"  // on volumes: the snapshot, or "none"
	TagVolume    = "snapsource:volume"    // on snapshots: the volume
	TagRun       = "snapsource:run"       // on snapshots: a random id of the run
	TagRevision  = "snapsource:revision"  // on snapshots: the release, as its version control names it
	TagCandidate = "snapsource:candidate" // on snapshots, in place of Name: the source
	TagPromoted  = "snapsource:promoted"  // on eligible copies: the copy's own id, and the time of its data
	TagOriginal  = "snapsource:original"  // on copies that snapsource made: the original's id, and its region
	TagTaken     = "snapsource:taken"     // on these: when the original's data was taken, RFC 3339
	TagRejected  = "snapsource:rejected"  // on snapshots: why they are rejected
	TagStarted   = "snapsource:started"   // on volumes: the last start after a stop at which newer releases were checked for
	TagDiscarded = "snapsource:discarded" // on volumes that came with a launch and are not used: to be deleted
	TagFormatted = "snapsource:formatted" // on volumes: the UUID of the XFS that we made
	TagFormat    = "snapsource:format"    // on volumes and snapshots: the format of these tags; none: format 1
)

// UnknownFormat returns the format of a volume's or snapshot's tags, if it is one that this version of
// snapsource does not know; else "". A resource with such tags was made by a later version, and means
// something that this one can't tell: it is neither used nor deleted.
func UnknownFormat(tags map[string]string) string {
	if f := tags[TagFormat]; f != "1" {
		return f
	}
	return ""
}

// A launch template's volume tags are put on all volumes of a launch, so that of a template
// that has several sources name them all: the values of TagSource and TagSnapshot are then lists in
// the same order, separated by blanks. A source's name has no blank in it.

// TagValues returns the values that a tag of a volume holds.
func TagValues(tag string) []string { return strings.Fields(tag) }

// JoinTagValues is the reverse of [TagValues].
func JoinTagValues(values []string) string { return strings.Join(values, " ") }

// PublishedFor says whether the volume's tags are those of a launch template that names its snapshot
// as the release of the source. All volumes of a launch have the same tags, the root volume too, but
// only the source's has that snapshot.
func (v Volume) PublishedFor(source string) bool {
	return v.SnapshotID != "" && PublishedSnapshots(v.Tags)[source] == v.SnapshotID
}

// PublishedSnapshots returns the snapshots that the volume tags of a launch template name, by source.
// If a person has changed one of the two lists, so that it has another length, there are none.
func PublishedSnapshots(tags map[string]string) map[string]string {
	sources, snapshots := TagValues(tags[TagSource]), TagValues(tags[TagSnapshot])
	pairs := map[string]string{}
	if len(sources) != len(snapshots) {
		return pairs
	}
	for i, source := range sources {
		pairs[source] = snapshots[i]
	}
	return pairs
}

// Tag adds tags to one resource (a volume, snapshot or instance id); tags with other keys
// stay.
func (c *Client) Tag(ctx context.Context, id string, tags map[string]string) error {
	form := url.Values{"ResourceId.1": {id}}
	tagForm(form, "Tag.", tags)
	return c.retryNotFound(ctx, func() error {
		_, err := c.queryEC2(ctx, "CreateTags", id, form)
		return err
	})
}

// Untag removes tags from one resource. A tag is removed only if it has the given value; ""
// stands for any value. (DeleteTags, API reference)
func (c *Client) Untag(ctx context.Context, id string, remove map[string]string) error {
	form := url.Values{"ResourceId.1": {id}}
	tagForm(form, "Tag.", remove)
	for name, value := range form {
		if value[0] == "" { // of a tag
			delete(form, name)
		}
	}
	_, err := c.queryEC2(ctx, "DeleteTags", id, form)
	return err
}

// tagForm adds tags to a form, with parameters that begin with a prefix.
func tagForm(form url.Values, prefix string, tags map[string]string) {
	for n, key := range slices.Sorted(maps.Keys(tags)) {
		number := prefix + strconv.Itoa(n+1)
		form.Set(number+".Key", key)
		form.Set(number+".Value", tags[key])
	}
}

func tagMap(tags []types.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

// tagList is sorted by key: EC2 compares all parameters of a call that repeats a client
// token, so their order should be stable.
func tagList(tags map[string]string) []types.Tag {
	var list []types.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return list
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}
