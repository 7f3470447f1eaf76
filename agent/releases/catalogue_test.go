package releases

import (
	"testing"
	"time"

	"snapsource/ec2ops"
)

func taken(id string, hour int, run string, change ...func(*ec2ops.Snapshot)) ec2ops.Snapshot {
	s := release(id, hour)
	s.VolumeID = "vol-of-" + run
	s.Tags[ec2ops.TagRun], s.Tags[ec2ops.TagVolume], s.Tags[ec2ops.TagSource] = run, s.VolumeID, "codepen-app"
	for _, c := range change {
		c(&s)
	}
	return s
}

// copied is what CopySnapshot makes with all tags of the original.
func copied(id string, hour int, run string, change ...func(*ec2ops.Snapshot)) ec2ops.Snapshot {
	s := taken(id, hour, run, change...)
	s.VolumeID = "vol-ffffffff"
	return s
}

func promoted(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagPromoted] = s.ID }

func TestOnlyReleasesAreEligible(t *testing.T) {
	backup := taken("snap-backup", 9, "r9", func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagSnapshot] = "snap-1" })
	ofBlank := release("snap-blank", 9)
	ofBlank.Tags[ec2ops.TagFormatted] = "a-uuid"
	byHand := release("snap-hand", 5)
	byHand.VolumeID = "vol-0123456789abcdef0"
	copyOfHand := release("snap-copy", 9)
	copyOfHand.Copy = true
	for name, tc := range map[string]struct {
		all  []ec2ops.Snapshot
		want string
	}{
		"a backup with a volume's tags":      {[]ec2ops.Snapshot{backup, taken("snap-1", 1, "r1")}, "snap-1"},
		"a backup of a blank volume":         {[]ec2ops.Snapshot{ofBlank, taken("snap-1", 1, "r1")}, "snap-1"},
		"one with Name alone":                {[]ec2ops.Snapshot{byHand, taken("snap-1", 1, "r1")}, "snap-hand"},
		"a copy of one with Name alone":      {[]ec2ops.Snapshot{copyOfHand, byHand}, "snap-hand"},
		"a copy of the older one":            {[]ec2ops.Snapshot{taken("snap-1", 1, "r1"), taken("snap-2", 2, "r2"), copied("snap-copy", 9, "r1")}, "snap-2"},
		"and it is promoted":                 {[]ec2ops.Snapshot{taken("snap-1", 1, "r1"), taken("snap-2", 2, "r2"), copied("snap-copy", 9, "r1", promoted)}, "snap-2"},
		"a promoted copy without original":   {[]ec2ops.Snapshot{taken("snap-2", 2, "r2"), copied("snap-copy", 9, "r1", promoted)}, "snap-copy"},
		"a copy of a promoted copy":          {[]ec2ops.Snapshot{taken("snap-2", 2, "r2"), copied("snap-copy2", 9, "r1", func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagPromoted] = "snap-copy" })}, "snap-2"},
		"EC2 made a volume id up for a copy": {[]ec2ops.Snapshot{taken("snap-2", 2, "r2"), copied("snap-copy", 9, "r1", func(s *ec2ops.Snapshot) { s.VolumeID = "vol-0aaaaaaaaaaaaaaaa" })}, "snap-2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Of("codepen-app", tc.all).Newest(); err != nil || got.ID != tc.want {
				t.Errorf("got %s, %v; want %s", got.ID, err, tc.want)
			}
		})
	}
}

func TestNewerThan(t *testing.T) {
	at := func(hour int) time.Time { return release("", hour).Start }
	from := func(id string) ec2ops.Volume {
		return ec2ops.Volume{ID: "vol-mine", SnapshotID: id, Created: at(4)}
	}
	mine := release("snap-mine", 6)
	mine.VolumeID = "vol-mine"
	for name, tc := range map[string]struct {
		volume ec2ops.Volume
		all    []ec2ops.Snapshot
		want   string
	}{
		"its own is the newest":                 {from("snap-2"), []ec2ops.Snapshot{release("snap-1", 1), release("snap-2", 2)}, ""},
		"a newer one":                           {from("snap-2"), []ec2ops.Snapshot{release("snap-2", 2), release("snap-3", 3)}, "snap-3"},
		"a newer one is pending":                {from("snap-2"), []ec2ops.Snapshot{release("snap-2", 2), taken("snap-3", 3, "r", func(s *ec2ops.Snapshot) { s.State = "pending" })}, "snap-3"},
		"its own is deleted":                    {from("snap-0"), []ec2ops.Snapshot{release("snap-3", 3), release("snap-5", 5)}, "snap-5"},
		"one was taken of it since":             {from("snap-2"), []ec2ops.Snapshot{release("snap-2", 2), release("snap-5", 5), mine}, ""},
		"and a newer one elsewhere":             {from("snap-2"), []ec2ops.Snapshot{release("snap-2", 2), mine, release("snap-7", 7)}, "snap-7"},
		"a copy of its own":                     {from("snap-2"), []ec2ops.Snapshot{taken("snap-2", 2, "r2"), copied("snap-9", 9, "r2", promoted)}, ""},
		"one of a later version":                {from("snap-2"), []ec2ops.Snapshot{release("snap-2", 2), taken("snap-9", 9, "r", func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagFormat] = "2" })}, "snap-9"},
		"a backup":                              {from("snap-2"), []ec2ops.Snapshot{release("snap-2", 2), taken("snap-9", 9, "r", func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagSnapshot] = "x" })}, ""},
		"a volume that began blank":             {from(""), []ec2ops.Snapshot{release("snap-3", 3), release("snap-5", 5)}, "snap-5"},
		"one that began blank, and a later own": {from(""), []ec2ops.Snapshot{release("snap-5", 5), mine}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := Of("codepen-app", tc.all).NewerThan(tc.volume); got.ID != tc.want {
				t.Errorf("got %q, want %q", got.ID, tc.want)
			}
		})
	}
}

// release is an eligible snapshot that began at the given hour.
func release(id string, hour int) ec2ops.Snapshot {
	return ec2ops.Snapshot{
		ID: id, State: ec2ops.SnapshotCompleted, Tier: "standard", SizeGiB: 5,
		Start: time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC), Tags: map[string]string{ec2ops.TagName: "codepen-app"},
	}
}
