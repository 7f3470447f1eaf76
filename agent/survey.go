package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"snapsource/agent/admission"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// observed is the result of survey.
type observed struct {
	targets   []mountfs.Target // the mountpoint and the bind targets
	choice    choice           // only the volume of an earlier run, if any
	device    *mountfs.Device  // of that volume; nil if the kernel shows none
	snapshots *future[[]ec2ops.Snapshot]
}

// survey inspects this host's mountpoints and lists the volumes of earlier runs. It lists the
// snapshots in the background, as a cold boot needs them next.
func (l *launch) survey(ctx context.Context) (obs observed, err error) {
	s := l.Begin(report.Survey)
	defer s.End(&err)
	defer l.InEC2()()
	list := func(ctx context.Context) ([]ec2ops.Volume, error) {
		return l.cloud.Volumes.Volumes(ctx, l.Self.InstanceID, l.src.Name)
	}
	if err := l.checkHost(); err != nil {
		return obs, err
	}
	once := l.limiter.First(ctx, l.Self)
	obs.snapshots = inBackground(&l.background, func() ([]ec2ops.Snapshot, error) { return l.cloud.Snapshots.Snapshots(once, l.src.Name) })
	volumes := inBackground(&l.background, func() ([]ec2ops.Volume, error) { return list(once) })
	obs.targets, err = l.inspectTargets()
	endWait := l.Await(report.OnCalls, "its volumes")
	<-volumes.done
	endWait()
	found, listErr := admission.Do(ctx, l.limiter, s, "DescribeVolumes", volumes.reuse(list))
	if err := failure.FollowedBy(err, listErr); err != nil {
		return obs, err
	}
	if obs.choice, err = chooseVolume(l.src.Name, l.Self.InstanceID, l.dropGone(found)); err != nil {
		return obs, err
	}
	l.Report.State = volumeState(obs.choice.volume)
	if obs.choice.volume == nil && anyXFS(obs.targets) {
		// An earlier run may have mounted a volume that EC2 does not list yet.
		s.Waiting("the volume that is mounted at " + l.src.Mount)
		if obs.choice, err = l.findExisting(ctx, appearTimeout); err != nil {
			return obs, err
		}
		if id := l.recordedAt(obs.targets); obs.choice.volume == nil && id != "" {
			return obs, fmt.Errorf("%w: %s is mounted here, but EC2 does not list it: DescribeVolumes", failure.ErrTemporary, id)
		}
	}
	if v := obs.choice.volume; v != nil {
		// An earlier run may have mounted the volume, though EC2 does not list the attachment
		// yet. Without a device name, Find uses the volume id.
		at, _ := v.AttachmentTo(l.Self.InstanceID)
		if dev, err := l.host.Find(mountfs.Volume{ID: v.ID, Name: at.Device, Size: v.Bytes()}); err == nil {
			obs.device = &dev
		}
	}
	s.Detail = obs.String()
	if err := l.checkMounts(obs); err != nil {
		return obs, err
	}
	if err := checkTargets(obs.targets, obs.device); err != nil {
		return obs, err
	}
	return obs, l.checkParentMounts(obs.targets)
}

// checkHost checks what this host must be able to do, before a volume is made: save a record, and
// mount with the configured options.
func (l *launch) checkHost() error {
	if err := l.host.CheckWritable(); err != nil {
		return err
	}
	if len(mountfs.XFSOptions(l.src.MountOptions)) == 0 {
		return nil
	}
	return l.host.CheckOptions(l.src.MountOptions)
}

// checkMounts refuses what only a down and up can correct: a volume that is mounted at another
// mountpoint than the configured one, and one that was detached while it was mounted.
func (l *launch) checkMounts(obs observed) error {
	mounts, err := l.host.Mounts()
	if err != nil {
		return err
	}
	if obs.device != nil {
		if at := mountedElsewhere(mounts, l.src.Mount, *obs.device); at != "" {
			return failure.Advise(fmt.Errorf("%w: %s is mounted at %s, not at %s as configured", failure.ErrRefused, obs.choice.volume.ID, at, l.src.Mount), downAndUp)
		}
		return nil
	}
	known, err := l.host.LoadRecord(l.src.Name)
	if err == nil && l.lostDevice(ec2ops.Volume{ID: known.Volume}) != nil {
		return failure.Advise(fmt.Errorf("%w: %s was detached while it was mounted", failure.ErrRefused, known.Volume), downAndUp)
	}
	return nil
}

// downAndUp is the advice for what only a new mount corrects.
const downAndUp = "run snapsource down, then snapsource up"

// mountedElsewhere returns where a device's file system is mounted if not at the mountpoint; ""
// if it is there, or nowhere.
func mountedElsewhere(mounts []mountfs.Mount, mountpoint string, dev mountfs.Device) string {
	elsewhere := ""
	for _, m := range mounts {
		if m.Major != dev.Major || m.Minor != dev.Minor || m.Root != "/" {
			continue
		}
		if m.Target == mountpoint { // maybe covered
			return ""
		}
		elsewhere = m.Target
	}
	return elsewhere
}

// recordedAt returns the id of the recorded volume if it is mounted at one of the targets, else "".
func (l *launch) recordedAt(targets []mountfs.Target) (id string) {
	r, dev := l.recordedDevice()
	if dev == nil {
		return ""
	}
	for _, t := range targets {
		if t.State == mountfs.Mounted && t.Mount.Major == dev.Major && t.Mount.Minor == dev.Minor {
			return r.Volume
		}
	}
	return ""
}

// checkParentMounts refuses a target inside another source's volume. The mountpoint would be
// created there, and be part of that source's snapshots. Validate can't detect this if the
// sources are configured in different files.
func (l *launch) checkParentMounts(targets []mountfs.Target) error {
	mounts, err := l.host.Mounts()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if t.State == mountfs.Mounted {
			continue
		}
		above := mountfs.MountAbove(mounts, t.Path)
		for _, r := range l.host.Records() {
			if r.Source != l.src.Name && r.Major == above.Major && r.Minor == above.Minor && above.FSType == "xfs" {
				return fmt.Errorf("%w: %s is inside the volume of source %s, which is mounted at %s", mountfs.ErrTarget, t.Path, r.Source, above.Target)
			}
		}
	}
	return nil
}

func anyXFS(targets []mountfs.Target) bool {
	return slices.ContainsFunc(targets, func(t mountfs.Target) bool { return t.State == mountfs.Mounted && t.Mount.FSType == "xfs" })
}

// String describes the result for people: "nothing mounted, no volume of this source".
func (obs observed) String() string {
	var parts []string
	for _, t := range obs.targets {
		if t.State == mountfs.Mounted {
			parts = append(parts, t.Path+" is mounted")
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing mounted")
	}
	if v := obs.choice.volume; v != nil {
		parts = append(parts, v.ID+" is "+v.State)
	} else {
		parts = append(parts, "no volume of this source")
	}
	return strings.Join(parts, ", ")
}

// targetPaths returns the mountpoint and the bind targets.
func (r *run) targetPaths() []string {
	paths := []string{r.src.Mount}
	for _, bind := range r.src.Binds {
		paths = append(paths, bind.Target)
	}
	return paths
}

func (l *launch) inspectTargets() ([]mountfs.Target, error) {
	var targets []mountfs.Target
	for _, p := range l.targetPaths() {
		t, err := l.host.InspectTarget(p)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// checkTargets refuses mountpoints that can't be used. dev is the device of our volume, nil if
// it is not attached. What is mounted from it is ours.
func checkTargets(targets []mountfs.Target, dev *mountfs.Device) error {
	for _, t := range targets {
		switch t.State {
		case mountfs.Absent, mountfs.Empty:
		case mountfs.Mounted:
			if dev != nil && t.Mount.Major == dev.Major && t.Mount.Minor == dev.Minor {
				continue
			}
			return fmt.Errorf("%w: %s is the mountpoint of %s (%s)", mountfs.ErrTarget, t.Path, t.Mount.Source, t.Mount.FSType)
		case mountfs.Protected:
			return fmt.Errorf("%w: %s %s", mountfs.ErrProtected, t.Path, t.Detail)
		case mountfs.Occupied:
			return fmt.Errorf("%w: %s is not empty", mountfs.ErrTarget, t.Path)
		default:
			return failure.Advise(fmt.Errorf("%w: %s: %s", mountfs.ErrTarget, t.Path, t.Detail), "name the real directory in mount or bind, or remove what is at that path")
		}
	}
	return nil
}
