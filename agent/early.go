package agent

import (
	"context"
	"slices"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// decideEarly returns the volume that may be mounted before EC2 has said whose it is. The mount
// replays the file system's log, so it writes to the volume. That harms nobody if
//
//   - the NVMe controller says that the launch attached it under the source's device name,
//   - the metadata service says so too, which alone would also be so for a volume that was attached to
//     the stopped instance. So EC2 made the volume for this instance: it is not attached elsewhere, as
//     a block device mapping can't demand Multi-Attach (EbsBlockDevice, API reference), and its
//     snapshot stays as it is,
//   - its file system has the label that we give to the source's (see [launch.mountEarly]).
//
// It may still be the wrong release, or a copy that a machine image brought: nothing is announced
// before EC2 has answered, and then it is unmounted.
func decideEarly(src config.Source, launched ec2ops.LaunchDevices, shown []mountfs.VolumeDevice) (v mountfs.VolumeDevice, found bool) {
	if !slices.Contains(launched.EBS, src.Device) {
		return v, false
	}
	for _, d := range shown {
		if d.Name != src.Device || !d.AtLaunch || !d.Device.ByID() {
			continue
		}
		if found {
			return mountfs.VolumeDevice{}, false
		}
		v, found = d, true
	}
	return v, found
}

// earlyContents reports whether a device's contents are those of a volume that may be mounted early:
// an XFS with the source's label that came from a snapshot, as its UUID is not that of a file system
// made on this volume.
func earlyContents(source, volumeID string, dev mountfs.Device, c mountfs.Contents) bool {
	return c.Kind == mountfs.XFS && c.XFS.Label != "" && c.XFS.Label == mountfs.Label(source) &&
		c.XFS.UUID != mountfs.UUIDFor(volumeID) && !mountfs.LargerThan(*c.XFS, dev.Size)
}

// mountEarly mounts the volume that arrived while EC2 is asked about it, if it may; see
// [decideEarly]. On any failure it leaves that to the steps that follow.
func (l *launch) mountEarly(ctx context.Context, q asked) (early mounted) {
	mounts, err := l.host.Mounts()
	if err != nil {
		return early
	}
	v, ok := l.markedEarly(mounts, q.shown)
	already := ok
	if !ok {
		v, ok = decideEarly(l.src, q.launched, q.shown)
	}
	if !ok || l.isGone(v.Volume) || !l.earlyTargets(q.targets, v) {
		return early
	}
	at := attached{placed: placed{volume: ec2ops.Volume{ID: v.Volume}, origin: arrived}, device: v.Device}
	if !already && (!l.inspectEarly(ctx, at) || l.markEarly(v) != nil) {
		return early
	}
	early, err = l.mount(at, q.targets)
	early.byThisRun = true
	if err != nil {
		l.unmountEarly(ctx, early)
		return mounted{}
	}
	return early
}

// markEarly records a volume before it is mounted, so that the next run after a crash, or down, unmounts it
// if it is not the source's. Without the mark a mount is somebody else's.
func (l *launch) markEarly(v mountfs.VolumeDevice) error {
	if known, err := l.host.LoadRecord(l.src.Name); err == nil && known.Volume == v.Volume {
		return nil
	}
	return l.host.SaveRecord(record.Record{Source: l.src.Name, Early: v.Volume})
}

// markedEarly returns the volume at the source's mountpoint that a run has mounted early and that was
// killed before EC2 said whose it is.
func (r *run) markedEarly(mounts []mountfs.Mount, shown []mountfs.VolumeDevice) (v mountfs.VolumeDevice, found bool) {
	known, err := r.host.LoadRecord(r.src.Name)
	if err != nil || known.Early == "" {
		return v, false
	}
	for _, d := range shown {
		if d.Volume == known.Early && mountfs.MountedAt(mounts, r.src.Mount, d.Device) {
			return d, true
		}
	}
	return v, false
}

// earlyTargets reports whether the volume can be mounted at the targets, and no run has finished
// with it or another volume since the boot.
func (l *launch) earlyTargets(targets []mountfs.Target, v mountfs.VolumeDevice) bool {
	if known, err := l.host.LoadRecord(l.src.Name); err == nil && known.Early != v.Volume && (known.Volume != v.Volume || !known.Ready.IsZero()) {
		return false
	}
	return checkTargets(targets, v.Device) == nil && l.checkParentMounts(targets) == nil
}

// inspectEarly locks the device, probes it, and has EBS load what the mount reads.
func (l *launch) inspectEarly(ctx context.Context, at attached) (ok bool) {
	s := l.Begin(report.Inspect)
	var ended error
	defer s.End(&ended)
	defer l.Await(report.OnKernel, "the device's contents")()
	disk, err := l.host.OpenDisk(at.device)
	if err != nil {
		s.Detail = "EC2 is asked first: " + failure.Line(err)
		return false
	}
	defer disk.Close() //nolint:errcheck // only read from
	contents, err := disk.Probe("")
	if err != nil || !earlyContents(l.src.Name, at.volume.ID, at.device, contents) {
		s.Detail = "EC2 is asked first whose " + at.volume.ID + " is"
		return false
	}
	s.Detail = describeXFS(contents)
	short, cancel := context.WithTimeout(ctx, prereadTimeout)
	defer cancel()
	return l.host.Preread(short, at.device) == nil
}

// unmountEarly unmounts what mountEarly mounted.
func (l *launch) unmountEarly(ctx context.Context, early mounted) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := l.unmount(ctx, early.volume, nil); err != nil {
		l.Note(early.volume.ID + " could not be unmounted: " + failure.Line(err))
		return
	}
	if known, err := l.host.LoadRecord(l.src.Name); err == nil && known.Early == early.volume.ID {
		_ = l.host.DropRecord(l.src.Name) // without a mount the mark means nothing
	}
}
