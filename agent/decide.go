package agent

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// choice is what a run works with: the volume of an earlier run, else a snapshot to
// make one from, else nothing (a blank volume).
type choice struct {
	volume   *ec2ops.Volume
	snapshot *ec2ops.Snapshot
	sizeGiB  int32           // of the volume to create
	failed   []ec2ops.Volume // volumes of ours in the state error, to be deleted
	missing  time.Time       // since when EC2 does not find the snapshot, though it lists it
	spare    []ec2ops.Volume // further live volumes of ours: there should be none
}

// String tells the choice to a person.
func (c choice) String() string {
	switch {
	case c.volume != nil:
		return c.volume.ID + ", of an earlier run"
	case c.snapshot != nil:
		return fmt.Sprintf("%s, %s UTC, %d GiB", c.snapshot.ID, c.snapshot.Start.UTC().Format("2006-01-02 15:04"), c.snapshot.SizeGiB)
	}
	return "no snapshot; a blank volume"
}

// chooseVolume picks among the volumes that carry this instance's and this
// source's tags the one to go on with: one that is attached here before one that
// is not, then the oldest. A volume that is being deleted does not count; one in
// the state error can't be used.
func chooseVolume(source, instanceID string, all []ec2ops.Volume) (choice, error) {
	var c choice
	var live []ec2ops.Volume
	for _, v := range all {
		switch {
		case v.Tags[ec2ops.TagSource] != source || v.Tags[ec2ops.TagInstance] != instanceID || v.Gone():
		case v.State == ec2ops.VolumeError:
			c.failed = append(c.failed, v)
		default:
			live = append(live, v)
		}
	}
	if len(live) == 0 {
		return c, nil
	}
	here := func(v ec2ops.Volume) int {
		if _, ok := v.AttachmentTo(instanceID); ok {
			return 0
		}
		return 1
	}
	slices.SortFunc(live, func(a, b ec2ops.Volume) int {
		return cmp.Or(cmp.Compare(here(a), here(b)), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	v := live[0]
	if here(v) != 0 && len(v.Attachments) > 0 && v.State == ec2ops.VolumeInUse {
		return c, fmt.Errorf("%w: %s carries the tags of this instance but is attached to %s", failure.ErrRefused, v.ID, v.Attachments[0].InstanceID)
	}
	c.volume, c.spare = &v, live[1:]
	return c, nil
}

// chooseStart decides what to start from when there is no volume yet.
func chooseStart(src config.Source, ifNone string, snapshots []ec2ops.Snapshot) (snapshot *ec2ops.Snapshot, sizeGiB int32, err error) {
	s, err := releases.Of(src.Name, snapshots).Newest()
	switch {
	case err == nil && src.SizeGiB != 0 && src.SizeGiB < s.SizeGiB:
		return nil, 0, config.Usagef("size: %d GiB is less than the %d GiB of %s", src.SizeGiB, s.SizeGiB, s.ID)
	case err == nil:
		return &s, max(src.SizeGiB, s.SizeGiB), nil
	case ifNone == config.IfNoneBlank && errors.Is(err, failure.ErrNoSnapshot): // and none is pending
		return nil, cmp.Or(src.SizeGiB, config.DefaultSizeGiB), nil
	}
	return nil, 0, err
}

// checkTargets refuses mountpoints that can't be used. dev is the device of our
// volume where it is already attached: what is mounted from it is ours.
func checkTargets(targets []mountfs.Target, dev *mountfs.Device) error {
	for _, t := range targets {
		switch t.State {
		case mountfs.Absent, mountfs.Empty:
		case mountfs.Mounted:
			if dev != nil && t.Mount.Major == dev.Major && t.Mount.Minor == dev.Minor {
				continue
			}
			return fmt.Errorf("%w: %s is the mountpoint of %s (%s)", mountfs.ErrTarget, t.Path, t.Mount.Source, t.Mount.FSType)
		case mountfs.Occupied:
			return fmt.Errorf("%w: %s is not empty", mountfs.ErrTarget, t.Path)
		default:
			return fmt.Errorf("%w: %s: %s", mountfs.ErrTarget, t.Path, t.Detail)
		}
	}
	return nil
}

// decideFormat says whether to make a file system on the device. Formatting needs
// all of: EC2 says that the volume has no snapshot; its tags say that we made it
// for this source and instance and never formatted it; nothing is on the device,
// or only what our own mkfs left half made. Anything but an XFS that fits is
// refused otherwise.
func decideFormat(source, instanceID string, v ec2ops.Volume, dev mountfs.Device, c mountfs.Contents) (format bool, err error) {
	refuse := func(why string) (bool, error) {
		return false, fmt.Errorf("%w: %s (%s): %s", failure.ErrRefused, dev.Node, v.ID, why)
	}
	switch c.Kind {
	case mountfs.XFS:
		if mountfs.LargerThan(*c.XFS, dev.Size) {
			return refuse("its XFS is larger than the device")
		}
		return false, nil
	case mountfs.Blank, mountfs.HalfMade:
		switch {
		case v.SnapshotID != "":
			return refuse("made from " + v.SnapshotID + ", which holds no file system")
		case v.Tags[ec2ops.TagSource] != source || v.Tags[ec2ops.TagInstance] != instanceID:
			return refuse("no file system on it, and its tags do not say that it was made for this source and instance")
		case v.Tags[ec2ops.TagFormatted] != "":
			return refuse("formatted before, yet no file system is on it now")
		case dev.ReadOnly:
			return refuse("no file system on it, and the device is read-only")
		}
		return true, nil
	}
	return refuse("holds " + c.What + ", not an XFS of ours")
}

// describeXFS tells a person what an XFS is called.
func describeXFS(c mountfs.Contents) string {
	if c.XFS.Label == "" {
		return "XFS"
	}
	return fmt.Sprintf("XFS %q", c.XFS.Label)
}
