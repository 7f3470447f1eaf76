package releases

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/agent/record"
	"snapsource/ec2ops"
)

// ours is what [Copy] makes of the release of a run, which was taken at an hour in another region, as EC2
// shows it once the copy is eligible.
func ours(id string, takenHour, copiedHour int, run string, change ...func(*ec2ops.Snapshot)) ec2ops.Snapshot {
	original := taken("snap-original-"+run, takenHour, run)
	o := Of("codepen-app", nil).original(&original, "us-west-2")
	s := release(id, copiedHour)
	s.Tags, s.VolumeID, s.Copy = copyTags("codepen-app", &original, &o), "vol-ffffffff", true
	s.Tags[ec2ops.TagPromoted] = promotion(id, o.Taken)
	for _, c := range change {
		c(&s)
	}
	return s
}

func unpromoted(s *ec2ops.Snapshot) { delete(s.Tags, ec2ops.TagPromoted) }
func pending(s *ec2ops.Snapshot)    { s.State = ec2ops.SnapshotPending }

// again is a copy of a copy, made by somebody else with all tags.
func again(id string, of ec2ops.Snapshot) ec2ops.Snapshot {
	of.ID, of.Start = id, of.Start.Add(time.Hour)
	return of
}

// TestCopiesAreAsOldAsTheirOriginals: a copy is chosen by the time of its original's data.
func TestCopiesAreAsOldAsTheirOriginals(t *testing.T) {
	plain := again("snap-again", ours("snap-c", 1, 8, "r1"))
	plain.Copy = false // EC2 does not say that it is one
	plain.VolumeID = plain.Tags[ec2ops.TagVolume]
	for name, tc := range map[string]struct {
		all  []ec2ops.Snapshot
		want string
	}{
		"a copy":                              {[]ec2ops.Snapshot{ours("snap-c1", 1, 9, "r1")}, "snap-c1"},
		"the copy of a newer release":         {[]ec2ops.Snapshot{ours("snap-c1", 1, 9, "r1"), ours("snap-c2", 2, 8, "r2")}, "snap-c2"},
		"a release taken here since":          {[]ec2ops.Snapshot{ours("snap-c1", 1, 9, "r1"), taken("snap-2", 2, "r2")}, "snap-2"},
		"a release taken here before":         {[]ec2ops.Snapshot{ours("snap-c3", 3, 9, "r3"), taken("snap-2", 2, "r2")}, "snap-c3"},
		"a copy that is not finished":         {[]ec2ops.Snapshot{ours("snap-c3", 3, 9, "r3", unpromoted), taken("snap-2", 2, "r2")}, "snap-2"},
		"a copy that is pending":              {[]ec2ops.Snapshot{ours("snap-c3", 3, 9, "r3", pending), taken("snap-2", 2, "r2")}, "snap-2"},
		"a copy of a copy, by somebody else":  {[]ec2ops.Snapshot{again("snap-again", ours("snap-c3", 3, 8, "r3")), taken("snap-2", 2, "r2")}, "snap-2"},
		"one that EC2 does not say is a copy": {[]ec2ops.Snapshot{plain, taken("snap-0", 0, "r0")}, "snap-0"},
		"a copy of the original, by somebody": {[]ec2ops.Snapshot{copied("snap-x", 9, "r1"), ours("snap-c0", 0, 1, "r0")}, "snap-c0"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Of("codepen-app", tc.all).Newest(); err != nil || got.ID != tc.want {
				t.Errorf("got %s, %v; want %s", got.ID, err, tc.want)
			}
		})
	}
	// Promoted by hand, somebody else's copy of a copy is as old as its data too.
	byHand := again("snap-again", ours("snap-c", 1, 8, "r1"))
	if got := promotion(byHand.ID, Of("codepen-app", nil).taken(byHand)); !strings.HasSuffix(got, " 2026-11-23T01:00:00Z") {
		t.Errorf("promoted with %q", got)
	}
}

// TestPruneCopies: copies are releases, and old ones go.
func TestPruneCopies(t *testing.T) {
	all := []ec2ops.Snapshot{ours("snap-c1", 1, 9, "r1"), ours("snap-c3", 3, 8, "r3"), ours("snap-c2", 2, 7, "r2"), ours("snap-c4", 4, 6, "r4", unpromoted)}
	var got []string
	for _, p := range oldSnapshots("codepen-app", all, nil, PruneOptions{Keep: 2}, time.Now()) {
		got = append(got, p.ID)
	}
	if !slices.Equal(got, []string{"snap-c1"}) {
		t.Errorf("got %v", got)
	}
}

// TestOriginal: a copy of a copy names the first original, and has its time.
func TestOriginal(t *testing.T) {
	first := taken("snap-a", 1, "r1")
	a := Of("codepen-app", nil).original(&first, "us-west-2")
	b := ours("snap-b", 1, 5, "r1")
	b.Tags[ec2ops.TagOriginal] = originalTag(&a)
	if got := Of("codepen-app", []ec2ops.Snapshot{b}).original(&b, "eu-west-1"); got != a || got.String() != "snap-a in us-west-2" || !got.Taken.Equal(first.Start) {
		t.Errorf("a copy of %+v, want %+v", got, a)
	}
	if o := Origin(&first); o != nil || o.Note() != "" {
		t.Errorf("a release that was taken here is a copy of %v", o)
	}
}

func TestCopyTags(t *testing.T) {
	s := taken("snap-a", 1, "r1", promoted, func(s *ec2ops.Snapshot) {
		for key, value := range map[string]string{
			ec2ops.TagRevision: "abc", ec2ops.TagCandidate: "x", "snapsource:later": "x", "aws:backup:source-resource": "x", "team": "web",
		} {
			s.Tags[key] = value
		}
	})
	o := Of("codepen-app", nil).original(&s, "us-west-2")
	got := fmt.Sprint(copyTags("codepen-app", &s, &o))
	want := fmt.Sprint(map[string]string{
		"Name": "codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagOriginal: "snap-a us-west-2", ec2ops.TagTaken: "2026-11-23T01:00:00Z",
		ec2ops.TagRun: "r1", ec2ops.TagVolume: "vol-of-r1", ec2ops.TagRevision: "abc", "team": "web",
	})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for n := range 60 {
		s.Tags[fmt.Sprintf("tag%02d", n)] = ""
	}
	if n := len(copyTags("codepen-app", &s, &o)); n != 49 { // and the tag that makes it eligible
		t.Errorf("%d tags", n)
	}
}

// TestPresent: what the region has of a release.
func TestPresent(t *testing.T) {
	reject := func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagRejected] = "x" }
	failed := func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotFailed }
	backup := func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagSnapshot] = "x" }
	o := record.CopyOf{Original: "snap-original-r1", Region: "us-west-2"}
	for name, tc := range map[string]struct {
		all        []ec2ops.Snapshot
		want       string
		unfinished bool
	}{
		"nothing":                     {nil, "", false},
		"others":                      {[]ec2ops.Snapshot{taken("snap-2", 2, "r2"), ours("snap-c2", 2, 3, "r2"), copied("snap-x", 9, "r1")}, "", false},
		"a copy":                      {[]ec2ops.Snapshot{ours("snap-c2", 2, 3, "r2"), ours("snap-c1", 1, 3, "r1")}, "snap-c1", false},
		"a pending copy":              {[]ec2ops.Snapshot{ours("snap-c1", 1, 3, "r1", pending)}, "snap-c1", false},
		"an unfinished one":           {[]ec2ops.Snapshot{ours("snap-c1", 1, 3, "r1", pending, unpromoted)}, "snap-c1", true},
		"a rejected one":              {[]ec2ops.Snapshot{ours("snap-c1", 1, 3, "r1", reject)}, "snap-c1", false},
		"rejected, unfinished":        {[]ec2ops.Snapshot{ours("snap-c1", 1, 3, "r1", reject, unpromoted)}, "snap-c1", false},
		"one that failed":             {[]ec2ops.Snapshot{ours("snap-c1", 1, 3, "r1", failed)}, "", false},
		"a backup with its tags":      {[]ec2ops.Snapshot{ours("snap-c1", 1, 3, "r1", backup, unpromoted)}, "", false},
		"a copy of it, by a tool":     {[]ec2ops.Snapshot{again("snap-a", ours("snap-c1", 1, 3, "r1"))}, "", false},
		"that, rejected":              {[]ec2ops.Snapshot{again("snap-a", ours("snap-c1", 1, 3, "r1", reject))}, "snap-a", false},
		"the original":                {[]ec2ops.Snapshot{taken("snap-original-r1", 1, "r1")}, "snap-original-r1", false},
		"one and a copy of it":        {[]ec2ops.Snapshot{again("snap-a", ours("snap-c1", 1, 3, "r1")), ours("snap-c1", 1, 3, "r1")}, "snap-c1", false},
		"two, of concurrent commands": {[]ec2ops.Snapshot{ours("snap-c2", 1, 3, "r1"), ours("snap-c1", 1, 3, "r1")}, "snap-c1", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of("codepen-app", tc.all).present(&o)
			switch {
			case got == nil && tc.want != "", got != nil && got.ID != tc.want:
				t.Errorf("got %+v, want %s", got, tc.want)
			case got != nil && unfinished(got) != tc.unfinished:
				t.Errorf("unfinished: %v", !tc.unfinished)
			}
		})
	}
}

// TestRejectCopies: copies of the same original are rejected together, whatever run it is of.
func TestRejectCopies(t *testing.T) {
	noRun := func(s *ec2ops.Snapshot) { delete(s.Tags, ec2ops.TagRun) }
	a, b, other := ours("snap-a", 1, 3, "r1", noRun), ours("snap-b", 1, 4, "r1", noRun), ours("snap-c", 2, 3, "r2", noRun)
	if got := copiesOf(a, []ec2ops.Snapshot{a, b, other}); len(got) != 1 || got[0].ID != "snap-b" {
		t.Errorf("%+v", got)
	}
}

func TestPending(t *testing.T) {
	for name, tc := range map[string]struct {
		all  []ec2ops.Snapshot
		want string
	}{
		"none":             {[]ec2ops.Snapshot{release("snap-1", 1)}, ""},
		"a newer one":      {[]ec2ops.Snapshot{release("snap-1", 1), taken("snap-2", 2, "r2", pending), taken("snap-3", 3, "r3", pending)}, "snap-3"},
		"an older one":     {[]ec2ops.Snapshot{release("snap-2", 2), taken("snap-1", 1, "r1", pending)}, ""},
		"not eligible":     {[]ec2ops.Snapshot{copied("snap-3", 3, "r3", pending)}, ""},
		"none is eligible": {[]ec2ops.Snapshot{taken("snap-2", 2, "r2", pending)}, "snap-2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Of("codepen-app", tc.all).pending(); got == nil && tc.want != "" || got != nil && got.ID != tc.want {
				t.Errorf("got %+v, want %q", got, tc.want)
			}
		})
	}
}

func TestCopyOptions(t *testing.T) {
	const id = "snap-0123456789abcdef0"
	for name, tc := range map[string]struct {
		o    CopyOptions
		to   string
		want string // in the error; "": none
	}{
		"the newest":            {CopyOptions{}, "eu-west-1", ""},
		"no region":             {CopyOptions{}, "", "to-region"},
		"no name of a region":   {CopyOptions{}, "eu west", "to-region"},
		"the same region":       {CopyOptions{}, "us-west-2", "to-region"},
		"no id":                 {CopyOptions{Snapshot: "latest"}, "eu-west-1", "not the id"},
		"shared, same region":   {CopyOptions{Snapshot: id, Owner: "210987654321"}, "us-west-2", ""},
		"shared, without id":    {CopyOptions{Owner: "210987654321"}, "eu-west-1", "owner: needs --snapshot"},
		"no account":            {CopyOptions{Snapshot: id, Owner: "self"}, "eu-west-1", "owner"},
		"amazon":                {CopyOptions{Snapshot: id, Owner: "amazon"}, "eu-west-1", "owner"},
		"a key of the region":   {CopyOptions{KMSKey: "arn:aws:kms:eu-west-1:123456789012:key/a"}, "eu-west-1", ""},
		"a key's alias":         {CopyOptions{KMSKey: "alias/app"}, "eu-west-1", ""},
		"a key of another":      {CopyOptions{KMSKey: "arn:aws:kms:us-west-2:123456789012:key/a"}, "eu-west-1", "kms-key: it is in us-west-2"},
		"an alias in another":   {CopyOptions{KMSKey: "arn:aws:kms:us-west-2:123456789012:alias/a"}, "eu-west-1", "kms-key"},
		"the newest, and a key": {CopyOptions{KMSKey: "1234abcd-12ab-34cd-56ef-1234567890ab"}, "eu-west-1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.o.Validate("us-west-2", tc.to)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
