package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

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
	later := volume("vol-later", ec2ops.VolumeInUse, 0, me)
	later.Tags[ec2ops.TagFormat] = "2"
	for name, tc := range map[string]struct {
		all        []ec2ops.Volume
		want       string
		failed     int
		duplicates int
		err        error
	}{
		"none":                         {},
		"creating":                     {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeCreating, 1, "")}, want: "vol-1"},
		"available":                    {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeAvailable, 1, "")}, want: "vol-1"},
		"attached here":                {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeInUse, 1, me)}, want: "vol-1"},
		"deleting":                     {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeDeleting, 1, "")}},
		"error":                        {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeError, 1, "")}, failed: 1},
		"another instance's":           {all: []ec2ops.Volume{foreign}},
		"ours, but attached elsewhere": {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeInUse, 1, "i-other")}, err: failure.ErrRefused},
		"of a later version":           {all: []ec2ops.Volume{later}, err: failure.ErrUsage},
		"the attached one wins":        {all: []ec2ops.Volume{volume("vol-1", ec2ops.VolumeAvailable, 1, ""), volume("vol-2", ec2ops.VolumeInUse, 2, me)}, want: "vol-2", duplicates: 1},
		"then the oldest":              {all: []ec2ops.Volume{volume("vol-2", ec2ops.VolumeAvailable, 2, ""), volume("vol-1", ec2ops.VolumeAvailable, 1, "")}, want: "vol-1", duplicates: 1},
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
			if got != tc.want || len(c.failed) != tc.failed || len(c.duplicates) != tc.duplicates {
				t.Errorf("got %q, %d failed, %d duplicates; want %q, %d, %d", got, len(c.failed), len(c.duplicates), tc.want, tc.failed, tc.duplicates)
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
	half := mountfs.Contents{Kind: mountfs.Unfinished}
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
			if tc.refused != "" && (!errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), tc.refused) || format) {
				t.Errorf("format %v, error %v; want refused with %q", format, err, tc.refused)
			}
		})
	}
}

func TestDescribeXFS(t *testing.T) {
	for want, c := range map[string]mountfs.Contents{
		`XFS`:               {XFS: &mountfs.Superblock{}},
		`XFS "codepen-app"`: {XFS: &mountfs.Superblock{Label: "codepen-app"}},
	} {
		if got := describeXFS(c); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
