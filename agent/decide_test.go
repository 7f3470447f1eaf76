package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

func TestNewest(t *testing.T) {
	with := func(s ec2ops.Snapshot, change func(*ec2ops.Snapshot)) ec2ops.Snapshot { change(&s); return s }
	pending := with(release("snap-p", 9), func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotPending })
	failed := with(release("snap-e", 9), func(s *ec2ops.Snapshot) { s.State = "error" })
	recovering := with(release("snap-r", 9), func(s *ec2ops.Snapshot) { s.State = "recovering" })
	archived := with(release("snap-a", 9), func(s *ec2ops.Snapshot) { s.Tier = ec2ops.TierArchive })
	other := with(release("snap-o", 9), func(s *ec2ops.Snapshot) { s.Tags = map[string]string{"Name": "codepen-app2"} })
	for name, tc := range map[string]struct {
		all  []ec2ops.Snapshot
		want string // an id, or what the error says
	}{
		"none":                         {nil, "no snapshot with the tag"},
		"one":                          {[]ec2ops.Snapshot{release("snap-1", 1)}, "snap-1"},
		"newest first":                 {[]ec2ops.Snapshot{release("snap-2", 2), release("snap-1", 1)}, "snap-2"},
		"newest last":                  {[]ec2ops.Snapshot{release("snap-1", 1), release("snap-2", 2)}, "snap-2"},
		"same time, higher id":         {[]ec2ops.Snapshot{release("snap-b", 1), release("snap-c", 1), release("snap-a", 1)}, "snap-c"},
		"newer ones can't be launched": {[]ec2ops.Snapshot{pending, failed, recovering, archived, other, release("snap-1", 1)}, "snap-1"},
		"nothing but those":            {[]ec2ops.Snapshot{pending, pending, archived, failed}, "1 archived, 1 error, 2 pending"},
		"nothing but lasting ones":     {[]ec2ops.Snapshot{archived, failed}, "1 archived, 1 error"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := catalogueOf("codepen-app", tc.all).newest()
			if err != nil {
				pending := strings.Contains(tc.want, "pending")
				if errors.Is(err, ErrNoSnapshot) == pending || errors.Is(err, ErrTemporary) != pending || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want no snapshot and %q", err, tc.want)
				}
				return
			}
			if got.ID != tc.want {
				t.Errorf("got %s, want %s", got.ID, tc.want)
			}
		})
	}
}

func TestChooseVolume(t *testing.T) {
	const me = "i-me"
	volume := func(id, state string, hour int, attachedTo string) ec2ops.Volume {
		v := ec2ops.Volume{ID: id, State: state, Created: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC),
			Tags: map[string]string{ec2ops.TagSource: "app", ec2ops.TagInstance: me}}
		if attachedTo != "" {
			v.Attachments = []ec2ops.Attachment{{InstanceID: attachedTo, State: ec2ops.Attached}}
		}
		return v
	}
	foreign := volume("vol-foreign", ec2ops.VolumeAvailable, 0, "")
	foreign.Tags = map[string]string{ec2ops.TagSource: "app", ec2ops.TagInstance: "i-other"}
	for name, tc := range map[string]struct {
		all    []ec2ops.Volume
		want   string
		failed int
		spare  int
		err    error
	}{
		"none":                         {},
		"creating":                     {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeCreating, 1, "")}, want: "vol-1"},
		"available":                    {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeAvailable, 1, "")}, want: "vol-1"},
		"attached here":                {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeInUse, 1, me)}, want: "vol-1"},
		"deleting":                     {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeDeleting, 1, "")}},
		"error":                        {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeError, 1, "")}, failed: 1},
		"another instance's":           {all: []ec2ops.Volume{foreign}},
		"ours, but attached elsewhere": {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeInUse, 1, "i-other")}, err: ErrRefused},
		"the attached one wins":        {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeAvailable, 1, ""), volume("vol-2", ec2ops.VolumeInUse, 2, me)}, want: "vol-2", spare: 1},
		"then the oldest":              {all: []ec2ops.Volume{volume("vol-2", ec2ops.VolumeAvailable, 2, ""), volume("vol-1", ec2ops.VolumeAvailable, 1, "")}, want: "vol-1", spare: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := chooseVolume("app", me, tc.all)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			got := ""
			if c.volume != nil {
				got = c.volume.ID
			}
			if got != tc.want || len(c.failed) != tc.failed || len(c.spare) != tc.spare {
				t.Errorf("got %q, %d failed, %d spare; want %q, %d, %d", got, len(c.failed), len(c.spare), tc.want, tc.failed, tc.spare)
			}
		})
	}
}

// TestDecideFormat: a device is formatted only if every one of the conditions
// holds, and an XFS is never touched.
func TestDecideFormat(t *testing.T) {
	const me, source = "i-me", "app"
	const size = 5 << 30
	ours := func(change func(*ec2ops.Volume)) ec2ops.Volume {
		v := ec2ops.Volume{ID: "vol-1", Tags: map[string]string{ec2ops.TagSource: source, ec2ops.TagInstance: me}}
		if change != nil {
			change(&v)
		}
		return v
	}
	blank := mountfs.Contents{Kind: mountfs.Blank}
	half := mountfs.Contents{Kind: mountfs.HalfMade}
	xfs := func(bytes uint64) mountfs.Contents {
		return mountfs.Contents{Kind: mountfs.XFS, XFS: &mountfs.Superblock{BlockSize: 4096, DataBlocks: bytes / 4096}}
	}
	for name, tc := range map[string]struct {
		volume   ec2ops.Volume
		contents mountfs.Contents
		readOnly bool
		format   bool
		refused  string
	}{
		"ours and blank":             {volume: ours(nil), contents: blank, format: true},
		"ours and half made":         {volume: ours(nil), contents: half, format: true},
		"XFS":                        {volume: ours(nil), contents: xfs(size)},
		"smaller XFS":                {volume: ours(nil), contents: xfs(size / 2)},
		"larger XFS":                 {volume: ours(nil), contents: xfs(size + 4096), refused: "larger than the device"},
		"XFS of a stranger":          {volume: ec2ops.Volume{ID: "vol-1"}, contents: xfs(size)},
		"blank, from a snapshot":     {volume: ours(func(v *ec2ops.Volume) { v.SnapshotID = "snap-1" }), contents: blank, refused: "snap-1"},
		"blank, no tags":             {volume: ec2ops.Volume{ID: "vol-1"}, contents: blank, refused: "tags"},
		"blank, another instance":    {volume: ours(func(v *ec2ops.Volume) { v.Tags[ec2ops.TagInstance] = "i-other" }), contents: blank, refused: "tags"},
		"blank, another source":      {volume: ours(func(v *ec2ops.Volume) { v.Tags[ec2ops.TagSource] = "other" }), contents: blank, refused: "tags"},
		"blank, formatted before":    {volume: ours(func(v *ec2ops.Volume) { v.Tags[ec2ops.TagFormatted] = "uuid" }), contents: blank, refused: "formatted before"},
		"half made, from a snapshot": {volume: ours(func(v *ec2ops.Volume) { v.SnapshotID = "snap-1" }), contents: half, refused: "snap-1"},
		"blank, read-only":           {volume: ours(nil), contents: blank, readOnly: true, refused: "read-only"},
		"ext4":                       {volume: ours(nil), contents: mountfs.Contents{Kind: mountfs.Foreign, What: "ext4"}, refused: "ext4"},
		"nothing known":              {volume: ours(nil), contents: mountfs.Contents{What: "?"}, refused: "?"},
	} {
		t.Run(name, func(t *testing.T) {
			dev := mountfs.Device{Node: "/dev/nvme1n1", Size: size, ReadOnly: tc.readOnly}
			format, err := decideFormat(source, me, tc.volume, dev, tc.contents)
			if tc.refused == "" && err != nil || format != tc.format {
				t.Errorf("format %v, error %v; want %v and none", format, err, tc.format)
			}
			if tc.refused != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.refused) || format) {
				t.Errorf("format %v, error %v; want refused with %q", format, err, tc.refused)
			}
		})
	}
}

func TestDescribeXFS(t *testing.T) {
	for want, c := range map[string]mountfs.Contents{
		`XFS`:        {XFS: &mountfs.Superblock{}},
		`XFS, clean`: {XFS: &mountfs.Superblock{}, Log: mountfs.LogClean},
		`XFS "codepen-app", its log is replayed at mount`: {XFS: &mountfs.Superblock{Label: "codepen-app"}, Log: mountfs.LogDirty},
	} {
		if got := describeXFS(c); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
