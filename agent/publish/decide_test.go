package publish

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

func volume(device, snapshot string) ec2ops.TemplateMapping {
	return ec2ops.TemplateMapping{Device: device, Volume: &ec2ops.TemplateVolume{SnapshotID: snapshot, SizeGiB: 5, Type: "gp3", DeleteOnTermination: true}}
}

// tagged are tag specifications with the lists of sources and snapshots.
func tagged(sources, snapshots string, more ...ec2ops.TemplateTag) []ec2ops.TemplateTags {
	tags := append([]ec2ops.TemplateTag{{Key: "Name", Value: sources}}, more...)
	return []ec2ops.TemplateTags{{ResourceType: "volume", Tags: append(tags, ec2ops.TemplateTag{Key: ec2ops.TagSnapshot, Value: snapshots}, ec2ops.TemplateTag{Key: ec2ops.TagSource, Value: sources})}}
}

// situation is a template with one version, in which "app" is published; snap-2 is its newest snapshot,
// and snap-0 is deleted.
func situation(mappings []ec2ops.TemplateMapping, tags []ec2ops.TemplateTags) seen {
	v := ec2ops.TemplateVersion{Number: 7, Default: true, Mappings: mappings, Tags: tags}
	src := config.DefaultSource()
	src.Name = "app"
	newest := ec2ops.Snapshot{ID: "snap-2", SizeGiB: 5}
	return seen{src: src, newest: newest, snapshots: []ec2ops.Snapshot{newest, {ID: "snap-1"}}, template: ec2ops.Template{ID: "lt-1", Name: "web", Default: v, Latest: v}}
}

var decisions = map[string]struct {
	mappings []ec2ops.TemplateMapping
	tags     []ec2ops.TemplateTags
	change   func(*seen)
	want     []ec2ops.TemplateMapping // nil: nothing is to be changed
	lists    string
	says     string // an error
}{
	"nothing yet":                  {nil, nil, nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"as it is to be":               {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, tagged("app", "snap-2"), nil, nil, "", ""},
	"without its tags":             {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, nil, nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"an older one":                 {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-1")}, tagged("app", "snap-1"), nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"one that is deleted":          {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-0")}, tagged("app", "snap-0"), nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"a deleted one, untagged":      {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-0")}, nil, nil, nil, "", "has /dev/sdf for something else: a volume from snap-0"},
	"at another device":            {[]ec2ops.TemplateMapping{volume("/dev/sdg", "snap-2"), volume("/dev/sdh", "snap-x")}, nil, nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2"), volume("/dev/sdh", "snap-x")}, "app snap-2", ""},
	"twice":                        {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2"), volume("/dev/sdg", "snap-1")}, nil, nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"without /dev/":                {[]ec2ops.TemplateMapping{volume("sdf", "snap-1")}, nil, nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"taken without /dev/":          {[]ec2ops.TemplateMapping{{Device: "sdf", Volume: &ec2ops.TemplateVolume{SizeGiB: 1}}}, nil, nil, nil, "", "has sdf for something else: a blank volume of 1 GiB"},
	"taken by the image's":         {[]ec2ops.TemplateMapping{{Device: "/dev/sdf", Volume: &ec2ops.TemplateVolume{Type: "gp3"}}}, nil, nil, nil, "", "a volume of the image"},
	"another source beside it":     {[]ec2ops.TemplateMapping{volume("/dev/sdg", "snap-b"), volume("/dev/sdf", "snap-1")}, tagged("app b", "snap-1 snap-b"), nil, []ec2ops.TemplateMapping{volume("/dev/sdg", "snap-b"), volume("/dev/sdf", "snap-2")}, "app b snap-2 snap-b", ""},
	"another source's deleted one": {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-b")}, tagged("b", "snap-b"), nil, nil, "", "the source b, from snap-b"},
	"a source that has gone":       {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-1")}, tagged("app b", "snap-1 snap-b"), nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"lists of two lengths":         {[]ec2ops.TemplateMapping{volume("/dev/sdg", "snap-b")}, tagged("app b", "snap-b"), nil, nil, "", "do not list as many sources as snapshots"},
	"its own list is too long":     {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-1")}, tagged("app", "snap-1 snap-0"), nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"the tag of an instance":       {[]ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, tagged("app", "snap-2", ec2ops.TemplateTag{Key: ec2ops.TagInstance, Value: "i-1"}), nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"encrypted as the snapshot": {nil, nil, func(s *seen) {
		s.src.Encrypted, s.src.KMSKey = true, "1234"
		s.newest.Encrypted, s.newest.KMSKey = true, "arn:aws:kms:us-west-2:1:key/1234"
	}, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"encrypted, with an alias": {nil, nil, func(s *seen) {
		s.src.Encrypted, s.src.KMSKey, s.newest.Encrypted, s.newest.KMSKey = true, "alias/pens", true, "arn:aws:kms:us-west-2:1:key/1234"
	}, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"encrypted with another key": {nil, nil, func(s *seen) {
		s.src.Encrypted, s.src.KMSKey, s.newest.Encrypted, s.newest.KMSKey = true, "4321", true, "arn:aws:kms:us-west-2:1:key/1234"
	}, nil, "", "kms-key: snap-2 is encrypted with arn:aws:kms:us-west-2:1:key/1234"},
	"48 tags": {nil, tagged("", "", many(45)...), nil, []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-2")}, "app snap-2", ""},
	"49 tags": {nil, tagged("", "", many(46)...), nil, nil, "", "would have 49 tags"},
}

// many are that many tags.
func many(n int) (tags []ec2ops.TemplateTag) {
	for i := range n {
		tags = append(tags, ec2ops.TemplateTag{Key: fmt.Sprint("k", i)})
	}
	return tags
}

func TestDecide(t *testing.T) {
	for name, tc := range decisions {
		t.Run(name, func(t *testing.T) {
			s := situation(tc.mappings, tc.tags)
			if tc.change != nil {
				tc.change(&s)
			}
			p, err := decide(s)
			if tc.says != "" {
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v, want %q", err, tc.says)
				}
				return
			}
			if err != nil || p.change != (tc.want != nil) {
				t.Fatalf("%+v, %v", p, err)
			}
			if !p.change {
				return
			}
			if diff := cmp.Diff(tc.want, p.mappings, cmpopts.IgnoreUnexported(ec2ops.TemplateMapping{})); diff != "" {
				t.Error(diff)
			}
			tags := tagsOfVolumes(p.tags)
			if got := tags[ec2ops.TagSource] + " " + tags[ec2ops.TagSnapshot]; got != tc.lists || tags["Name"] != tags[ec2ops.TagSource] || tags[ec2ops.TagInstance] != "" {
				t.Errorf("tags %v, want %s", tags, tc.lists)
			}
			// What was decided is so afterwards: nothing more is to be changed.
			s.template.Default.Mappings, s.template.Default.Tags = p.mappings, p.tags
			if again, err := decide(s); err != nil || again.change {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

// TestMadeByUs: only a version of the right description and mapping is ours.
func TestMadeByUs(t *testing.T) {
	for description, want := range map[string]bool{
		"snapsource app snap-1": true, "snapsource app snap-1 latest": true, "snapsource app snap-2": false, "snapsource app": false,
		"snapsource  snap-1": false, "Snapsource app snap-1": false, "snapsource app snap-1 later": false, "": false, "release snapsource app snap-1": false,
	} {
		v := ec2ops.TemplateVersion{Description: description, Mappings: []ec2ops.TemplateMapping{volume("/dev/sdf", "snap-1")}}
		if madeByUs(v) != want || isForDefault(v) != (want && !strings.HasSuffix(description, "latest")) {
			t.Errorf("%q: %v", description, madeByUs(v))
		}
	}
	long := strings.Repeat("a", 127)
	if d := describe(long, "snap-0123456789abcdef0", true); len(d) > 255 {
		t.Errorf("%d characters", len(d))
	}
}

// TestNamingOthers: templates that name a snapshot which is not the one to launch.
func TestNamingOthers(t *testing.T) {
	with := func(snapshot string, tags []ec2ops.TemplateTags) ec2ops.TemplateVersion {
		return ec2ops.TemplateVersion{Default: true, Mappings: []ec2ops.TemplateMapping{volume("/dev/sdf", snapshot)}, Tags: tags}
	}
	latest := with("snap-1", nil)
	latest.Default = false
	list := lister{
		{ID: "lt-1", Name: "rejected", Default: with("snap-1", nil)},
		{ID: "lt-2", Name: "older", Default: with("snap-0", tagged("app", "snap-0"))},
		{ID: "lt-3", Name: "newest", Default: with("snap-2", tagged("app", "snap-2"))},
		{ID: "lt-4", Name: "other", Default: with("snap-x", tagged("b", "snap-x"))},
		{ID: "lt-5", Name: "latest", Default: with("snap-2", nil), Latest: latest},
	}
	found, err := NamingOthers(t.Context(), list, "app", "snap-2", "snap-1")
	var names []string
	for _, n := range found {
		names = append(names, n.Name)
	}
	if err != nil || !slices.Equal(names, []string{"rejected", "older", "latest"}) || found[0].OnlyLatest || !found[2].OnlyLatest || !strings.HasSuffix(found[2].Command("app"), "--launch-template latest --source app --set-default=false") {
		t.Errorf("%+v, %v", found, err)
	}
}
