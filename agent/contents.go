package agent

import (
	"context"
	"fmt"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// inspect locks the device, probes it, and formats it only if [decideFormat] allows that.
func (l *launch) inspect(ctx context.Context, at attached) (err error) {
	s := l.Begin(report.Inspect)
	defer s.End(&err)
	mounts, err := l.host.Mounts()
	if err != nil {
		return err
	}
	if mountfs.MountedAt(mounts, l.src.Mount, at.device) {
		s.Detail = "already mounted"
		return nil
	}
	endWait := l.Await(report.OnKernel, "the device's contents")
	disk, err := l.host.OpenDisk(at.device)
	if err != nil {
		endWait()
		return err
	}
	defer func() { err = failure.FollowedBy(err, disk.Close()) }()
	uuid := mountfs.UUIDFor(at.volume.ID)
	contents, err := disk.Probe(uuid)
	endWait()
	if err != nil {
		return err
	}
	format, err := decideFormat(l.src.Name, l.Self.InstanceID, at.volume, at.device, contents)
	if err != nil {
		return err
	}
	ours := format
	if format {
		s.Waiting("mkfs.xfs on " + at.device.Node)
		endWait := l.Await(report.OnKernel, "mkfs.xfs")
		err := disk.Format(ctx, mountfs.Format{UUID: uuid, Label: l.src.Name})
		endWait()
		if err != nil {
			return err
		}
		s.Detail = "blank, formatted as XFS"
	} else {
		s.Detail = describeXFS(contents)
		l.noteCopies(at.others, contents.XFS.UUID)
		ours = contents.XFS.UUID == uuid && at.volume.SnapshotID == ""
		if err := l.preread(ctx, at); err != nil {
			return err
		}
	}
	if ours && at.volume.Tags[ec2ops.TagFormatted] == "" {
		// Tag it before anything is written to it: it must never be formatted again.
		defer l.InEC2()()
		return l.cloud.Volumes.Tag(ctx, at.volume.ID, map[string]string{ec2ops.TagFormatted: uuid})
	}
	return nil
}

// prereadTimeout bounds what is read ahead of the mount: with 64 reads at the same moment, each of
// some 100 ms, even the most take less than 2 s.
const prereadTimeout = 5 * time.Second

// preread has EBS load what the mount reads, all at once. On a volume from a snapshot the mount would
// wait for one block after the other.
func (l *launch) preread(ctx context.Context, at attached) error {
	if at.volume.SnapshotID == "" {
		return nil
	}
	defer l.Await(report.OnKernel, "the blocks that the mount reads")()
	ctx, cancel := context.WithTimeout(ctx, prereadTimeout)
	defer cancel()
	return l.host.Preread(ctx, at.device)
}

// decideFormat reports whether to format the device. All of these must hold: EC2 reports no
// snapshot for the volume; its tags say that we created it for this source and instance and
// never formatted it; the device is blank, or holds what an interrupted mkfs of ours left.
// Otherwise it refuses anything but an XFS that fits the device.
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
	case mountfs.Blank, mountfs.Unfinished:
		switch {
		case v.SnapshotID != "":
			return refuse("created from " + v.SnapshotID + ", which holds no file system")
		case v.Tags[ec2ops.TagSource] != source || v.Tags[ec2ops.TagInstance] != instanceID:
			return refuse("no file system on it, and its tags do not say that it was created for this source and instance")
		case v.Tags[ec2ops.TagFormatted] != "":
			return refuse("formatted before, but has no file system now")
		case dev.ReadOnly:
			return refuse("no file system on it, and the device is read-only")
		}
		return true, nil
	}
	return refuse("holds " + c.What + ", not an XFS of ours")
}

// describeXFS describes an XFS for people, with its label.
func describeXFS(c mountfs.Contents) string {
	if c.XFS.Label == "" {
		return "XFS"
	}
	return fmt.Sprintf("XFS %q", c.XFS.Label)
}
