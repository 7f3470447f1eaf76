package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/agent/config"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// launchedAt is the launch of the instance, as its root volume shows it.
var launchedAt = time.Date(2026, 11, 24, 2, 50, 0, 0, time.UTC)

// attachedVolume is a volume attached to the instance by its launch.
func attachedVolume(id, device, snapshotID string, tags map[string]string) ec2ops.Volume {
	return ec2ops.Volume{
		ID: id, State: ec2ops.VolumeInUse, SnapshotID: snapshotID, SizeGiB: 5, Type: "gp3", Created: launchedAt, Tags: tags,
		Attachments: []ec2ops.Attachment{{InstanceID: theInstance.InstanceID, Device: device, State: ec2ops.Attached, DeleteOnTermination: true, Time: launchedAt}},
	}
}

// published are the tags that publish puts into a launch template.
func published(sources, snapshots string) map[string]string {
	return map[string]string{ec2ops.TagName: sources, ec2ops.TagSource: sources, ec2ops.TagSnapshot: snapshots}
}

func TestDecideArrival(t *testing.T) {
	const app = "codepen-app"
	tags := published(app, "snap-1")
	root := attachedVolume("vol-root", "/dev/xvda", "snap-image", tags)
	with := func(v ec2ops.Volume, change func(*ec2ops.Volume)) ec2ops.Volume {
		v.Attachments = slices.Clone(v.Attachments)
		change(&v)
		return v
	}
	right := attachedVolume("vol-1", "/dev/sdf", "snap-1", tags)
	claimedBy := func(id string) map[string]string {
		claimed := published(app, "snap-1")
		claimed[ec2ops.TagInstance] = id
		return claimed
	}
	at := func(device string, later time.Duration) ec2ops.Volume {
		return with(right, func(v *ec2ops.Volume) { v.Attachments[0].Device, v.Attachments[0].Time = device, launchedAt.Add(later) })
	}
	for name, tc := range map[string]struct {
		attached []ec2ops.Volume
		noRoot   bool   // the metadata service does not say which device is the root
		want     string // the volume
		note     string
		others   int
	}{
		"only the root volume":               {attached: []ec2ops.Volume{root}},
		"the right one":                      {attached: []ec2ops.Volume{root, right}, want: "vol-1"},
		"under another device name":          {attached: []ec2ops.Volume{root, at("/dev/sdk", 0)}, want: "vol-1"},
		"with two sources in the template":   {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags = published("shop "+app, "snap-9 snap-1") })}, want: "vol-1"},
		"of another source":                  {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags = published("shop", "snap-1") })}},
		"paired with another source":         {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags = published("shop "+app, "snap-1 snap-9") })}},
		"lists that do not fit":              {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags = published("shop "+app, "snap-1") })}, others: 1},
		"the other source's volume":          {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags, v.SnapshotID = published("shop "+app, "snap-9 snap-1"), "snap-9" })}},
		"claimed by this instance":           {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags = claimedBy(theInstance.InstanceID) })}},
		"claimed by another instance":        {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Tags = claimedBy("i-other") })}, note: "its tags say that it is i-other's"},
		"a copy that the machine image has":  {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.SnapshotID = "snap-ami" })}, others: 1},
		"the same, without the tags":         {attached: []ec2ops.Volume{root, attachedVolume("vol-1", "/dev/sdf", "snap-ami", nil)}, others: 1},
		"blank, at the source's device":      {attached: []ec2ops.Volume{root, attachedVolume("vol-1", "/dev/sdf", "", tags)}, note: "came blank"},
		"blank, at another device":           {attached: []ec2ops.Volume{root, attachedVolume("vol-1", "/dev/sdk", "", tags)}, others: 1},
		"by hand, later":                     {attached: []ec2ops.Volume{root, at("/dev/sdf", time.Minute)}, note: "not attached by the launch"},
		"a second later":                     {attached: []ec2ops.Volume{root, at("/dev/sdf", time.Second)}, want: "vol-1"},
		"no attach time":                     {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Attachments[0].Time = time.Time{} })}, note: "not attached by the launch"},
		"being detached":                     {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.Attachments[0].State = ec2ops.Detaching })}},
		"in the state error":                 {attached: []ec2ops.Volume{root, with(right, func(v *ec2ops.Volume) { v.State = ec2ops.VolumeError })}, note: "state error"},
		"twice":                              {attached: []ec2ops.Volume{root, with(at("/dev/sdk", 0), func(v *ec2ops.Volume) { v.ID = "vol-0" }), right}, want: "vol-1", note: "vol-0 is not used: the launch template names a release of codepen-app twice"},
		"root not listed, launch as its age": {attached: []ec2ops.Volume{right}, want: "vol-1"},
		"launched long ago, started since":   {attached: []ec2ops.Volume{with(root, func(v *ec2ops.Volume) { v.Attachments[0].Time = launchedAt.Add(-time.Hour) }), at("/dev/sdf", -time.Hour)}, want: "vol-1"},
		"the same, root unknown":             {noRoot: true, others: 1, attached: []ec2ops.Volume{at("/dev/sdf", -time.Hour), with(root, func(v *ec2ops.Volume) { v.Attachments[0].Time = launchedAt.Add(-time.Hour) })}, want: "vol-1"},
		"while stopped, root unknown":        {noRoot: true, others: 1, attached: []ec2ops.Volume{at("/dev/sdf", -time.Minute), with(root, func(v *ec2ops.Volume) { v.Attachments[0].Time = launchedAt.Add(-time.Hour) })}, note: "not attached by the launch"},
		"by hand, root unknown":              {noRoot: true, others: 1, attached: []ec2ops.Volume{root, at("/dev/sdf", time.Minute)}, note: "not attached by the launch"},
		"attached while it was stopped":      {attached: []ec2ops.Volume{with(root, func(v *ec2ops.Volume) { v.Attachments[0].Time = launchedAt.Add(-time.Hour) }), at("/dev/sdf", -time.Minute)}, note: "not attached by the launch"},
	} {
		t.Run(name, func(t *testing.T) {
			self := theInstance
			self.Launched = launchedAt
			src := config.DefaultConfig().Sources[0]
			device := "/dev/xvda"
			if tc.noRoot {
				device = ""
			}
			got := decideArrival(src, self, device, tc.attached)
			id := ""
			if got.volume != nil {
				id = got.volume.ID
			}
			if id != tc.want || len(got.others) != tc.others {
				t.Errorf("got %q and %d others, want %q and %d", id, len(got.others), tc.want, tc.others)
			}
			if notes := strings.Join(got.notes, "\n"); !strings.Contains(notes, tc.note) || tc.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, tc.note)
			}
		})
	}
}

func TestDecideArrived(t *testing.T) {
	rejected := release("snap-1", 1)
	rejected.Tags = map[string]string{ec2ops.TagName: "rejected: codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagRejected: "slow"}
	pending := release("snap-2", 2)
	pending.State = ec2ops.SnapshotPending
	for name, tc := range map[string]struct {
		snapshots []ec2ops.Snapshot
		change    func(*config.Source, *ec2ops.Volume)
		want      string
	}{
		"the newest":           {snapshots: []ec2ops.Snapshot{release("snap-0", 0), release("snap-1", 1)}},
		"a newer one, pending": {snapshots: []ec2ops.Snapshot{release("snap-1", 1), pending}},
		"a newer one":          {snapshots: []ec2ops.Snapshot{release("snap-1", 1), release("snap-2", 2)}, want: "snap-2, completed"},
		"rejected":             {snapshots: []ec2ops.Snapshot{rejected, release("snap-0", 0)}, want: "which is rejected slow"},
		"deleted":              {snapshots: []ec2ops.Snapshot{release("snap-0", 0)}, want: "which is gone"},
		"none at all":          {want: "which is gone"},
		"encryption is wanted": {snapshots: []ec2ops.Snapshot{release("snap-1", 1)}, change: func(s *config.Source, _ *ec2ops.Volume) { s.Encrypted = true }, want: "not encrypted"},
		"and it is encrypted":  {snapshots: []ec2ops.Snapshot{release("snap-1", 1)}, change: func(s *config.Source, v *ec2ops.Volume) { s.Encrypted, v.Encrypted = true, true }},
		"encrypted, unasked":   {snapshots: []ec2ops.Snapshot{release("snap-1", 1)}, change: func(_ *config.Source, v *ec2ops.Volume) { v.Encrypted = true }},
		"with another key": {snapshots: []ec2ops.Snapshot{release("snap-1", 1)}, change: func(s *config.Source, v *ec2ops.Volume) {
			s.KMSKey, v.KMSKey, v.Encrypted = "k1", "arn:aws:kms:r:1:key/k2", true
		}, want: "encrypted with arn:aws:kms:r:1:key/k2"},
		"with an alias": {snapshots: []ec2ops.Snapshot{release("snap-1", 1)}, change: func(s *config.Source, v *ec2ops.Volume) {
			s.KMSKey, v.KMSKey, v.Encrypted = "alias/a", "arn:aws:kms:r:1:key/k2", true
		}},
		"larger than configured":   {snapshots: []ec2ops.Snapshot{release("snap-1", 1)}, change: func(s *config.Source, v *ec2ops.Volume) { s.SizeGiB, v.SizeGiB = 5, 50 }},
		"a backup of a volume":     {snapshots: []ec2ops.Snapshot{{ID: "snap-1", State: ec2ops.SnapshotCompleted, Tags: published("codepen-app", "snap-0")}}, want: "copied from a volume"},
		"of another source by now": {snapshots: []ec2ops.Snapshot{{ID: "snap-1", State: ec2ops.SnapshotCompleted, Tags: map[string]string{ec2ops.TagName: "shop"}}}, want: "of another source"},
	} {
		t.Run(name, func(t *testing.T) {
			src, v := config.DefaultConfig().Sources[0], attachedVolume("vol-1", "/dev/sdf", "snap-1", published("codepen-app", "snap-1"))
			if tc.change != nil {
				tc.change(&src, &v)
			}
			got := decideArrived(src, v, tc.snapshots)
			switch {
			case got == nil && tc.want != "", got != nil && (tc.want == "" || !strings.Contains(got.String(), tc.want)):
				t.Errorf("got %v, want %q", got, tc.want)
			case got != nil && !got.always:
				t.Error("it depends on the policy, though nobody uses the volume")
			}
		})
	}
}

func TestDecideEarly(t *testing.T) {
	src := config.DefaultConfig().Sources[0]
	launched := ec2ops.LaunchDevices{Root: "/dev/xvda", EBS: []string{"/dev/sdf"}}
	nvme := mountfs.Device{Node: "/dev/nvme1n1", By: "serial"}
	for name, tc := range map[string]struct {
		launched ec2ops.LaunchDevices
		shown    []mountfs.VolumeDevice
		want     bool
	}{
		"all agree":                        {launched, []mountfs.VolumeDevice{{Volume: "vol-r", Name: "/dev/xvda", Device: nvme}, {Volume: "vol-1", Name: "/dev/sdf", AtLaunch: true, Device: nvme}}, true},
		"no vendor bytes":                  {launched, []mountfs.VolumeDevice{{Volume: "vol-1", Device: nvme}}, false},
		"another name":                     {launched, []mountfs.VolumeDevice{{Volume: "vol-1", Name: "/dev/sdg", AtLaunch: true, Device: nvme}}, false},
		"attached to the stopped instance": {launched, []mountfs.VolumeDevice{{Volume: "vol-1", Name: "/dev/sdf", Device: nvme}}, false},
		"not there at the launch":          {ec2ops.LaunchDevices{Root: "/dev/xvda", EBS: []string{"/dev/sdg"}}, []mountfs.VolumeDevice{{Volume: "vol-1", Name: "/dev/sdf", AtLaunch: true, Device: nvme}}, false},
		"twice":                            {launched, []mountfs.VolumeDevice{{Volume: "vol-1", Name: "/dev/sdf", AtLaunch: true, Device: nvme}, {Volume: "vol-2", Name: "/dev/sdf", AtLaunch: true, Device: nvme}}, false},
		"identified by its name only":      {launched, []mountfs.VolumeDevice{{Volume: "vol-1", Name: "/dev/sdf", AtLaunch: true, Device: mountfs.Device{Node: "/dev/xvdf", By: "name"}}}, false},
		"the metadata service is silent":   {ec2ops.LaunchDevices{}, []mountfs.VolumeDevice{{Volume: "vol-1", Name: "/dev/sdf", AtLaunch: true, Device: nvme}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if v, got := decideEarly(src, tc.launched, tc.shown); got != tc.want || got && v.Volume != "vol-1" {
				t.Errorf("got %+v, %v; want %v", v, got, tc.want)
			}
		})
	}
	xfs := func(change func(*mountfs.Superblock)) mountfs.Contents {
		sb := &mountfs.Superblock{Label: "codepen-app", UUID: "a-foreign-uuid"}
		change(sb)
		return mountfs.Contents{Kind: mountfs.XFS, XFS: sb}
	}
	for name, tc := range map[string]struct {
		contents mountfs.Contents
		want     bool
	}{
		"the source's":  {xfs(func(*mountfs.Superblock) {}), true},
		"no label":      {xfs(func(s *mountfs.Superblock) { s.Label = "" }), false},
		"another label": {xfs(func(s *mountfs.Superblock) { s.Label = "data" }), false},
		"made on it":    {xfs(func(s *mountfs.Superblock) { s.UUID = mountfs.UUIDFor("vol-1") }), false},
		"blank":         {mountfs.Contents{Kind: mountfs.Blank}, false},
		"unfinished":    {mountfs.Contents{Kind: mountfs.Unfinished, XFS: &mountfs.Superblock{Label: "codepen-app"}}, false},
	} {
		t.Run("contents: "+name, func(t *testing.T) {
			if got := earlyContents("codepen-app", "vol-1", mountfs.Device{Size: 1 << 30}, tc.contents); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
