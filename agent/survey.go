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
	others    []ec2ops.Volume  // attached volumes that came with the launch, and are not the source's
	snapshots *future[[]ec2ops.Snapshot]
	current   bool        // the snapshots are listed since the Source is mounted, and nothing else announces the instance
	early     mounted     // a volume that came with the launch and is mounted already
	refused   *superseded // that volume can't be used
}

// survey collects what ask has requested, and checks this host. early is the volume that is mounted
// already: if it is not the one that this run starts from, it is unmounted.
func (l *launch) survey(ctx context.Context, q asked, early mounted) (obs observed, err error) {
	obs.early = early
	s := q.step
	defer s.End(&err)
	defer l.InEC2()()
	if err := l.checkHost(); err != nil {
		return obs, err
	}
	obs.snapshots, obs.targets = q.snapshots, q.targets
	endWait := l.Await(report.OnCalls, "its volumes")
	<-q.volumes.done
	endWait()
	found, listErr := admission.Do(ctx, l.limiter, s, "DescribeVolumes", q.volumes.reuse(q.list))
	if err := failure.FollowedBy(q.targetErr, listErr); err != nil {
		return obs, err
	}
	if err := l.findVolume(ctx, s, &obs, q, found); err != nil {
		return obs, err
	}
	if early.complete && (obs.choice.volume == nil || obs.choice.volume.ID != early.volume.ID) {
		l.unmountEarly(ctx, early)
		obs.early = mounted{}
		if obs.targets, err = l.inspectTargets(); err != nil {
			return obs, err
		}
	}
	s.Detail = obs.String()
	if err := l.checkMounts(obs); err != nil {
		return obs, err
	}
	if err := checkTargets(obs.targets, l.ours(obs)...); err != nil {
		return obs, err
	}
	return obs, l.checkParentMounts(obs.targets)
}

// findVolume finds the volume that this run starts from, of an earlier run or the launch, and its
// device.
func (l *launch) findVolume(ctx context.Context, s *report.Running, obs *observed, q asked, found []ec2ops.Volume) (err error) {
	if q.arrivals {
		if found, err = l.findArrival(ctx, s, obs, q, found); err != nil {
			return err
		}
		if obs.choice.arrived {
			l.Report.State = volumeState(obs.choice.volume)
			l.findDevice(obs)
			return nil
		}
	}
	if obs.choice, err = chooseVolume(l.src.Name, l.Self.InstanceID, l.dropGone(found)); err != nil {
		return err
	}
	l.Report.State = volumeState(obs.choice.volume)
	if obs.choice.volume == nil && len(obs.choice.discarded) == 0 && anyXFS(obs.targets) {
		// An earlier run may have mounted a volume that EC2 does not list yet.
		s.Waiting("the volume that is mounted at " + l.src.Mount)
		if obs.choice, err = l.findExisting(ctx, appearTimeout); err != nil {
			return err
		}
		if id := l.recordedAt(obs.targets); obs.choice.volume == nil && id != "" {
			return fmt.Errorf("%w: %s is mounted here, but EC2 does not list it: DescribeVolumes", failure.ErrTemporary, id)
		}
	}
	l.findDevice(obs)
	return nil
}

// findArrival looks for a volume of this source among the attached ones. If there is none that a run
// has claimed, or that arrived, it returns the volumes of earlier runs by their tags.
func (l *launch) findArrival(ctx context.Context, s *report.Running, obs *observed, q asked, attached []ec2ops.Volume) (tagged []ec2ops.Volume, err error) {
	attached = l.dropGone(attached)
	if missing := unlisted(q.shown, attached); len(missing) > 0 && len(l.gone) == 0 {
		l.Note("EC2 does not list " + strings.Join(missing, ", ") + " as attached, but the kernel shows its device")
	}
	arrival := decideArrival(l.src, l.Self, q.launched.Root, attached)
	obs.others = arrival.others
	claimed := slices.ContainsFunc(attached, func(v ec2ops.Volume) bool {
		return v.Tags[ec2ops.TagSource] == l.src.Name && v.Tags[ec2ops.TagInstance] == l.Self.InstanceID
	})
	if claimed {
		return attached, nil
	}
	for _, note := range arrival.notes {
		l.Note(note)
	}
	if arrival.volume != nil {
		obs.choice.volume, obs.choice.arrived = arrival.volume, true
		return attached, nil
	}
	l.limiter.Creates()
	return admission.Do(ctx, l.limiter, s, "DescribeVolumes", l.listTagged)
}

// findDevice finds the device of the chosen volume, if there is one.
func (l *launch) findDevice(obs *observed) {
	v := obs.choice.volume
	if v == nil {
		return
	}
	// An earlier run may have mounted the volume, though EC2 does not list the attachment
	// yet. Without a device name, Find uses the volume id.
	at, _ := v.AttachmentTo(l.Self.InstanceID)
	if dev, err := l.host.Find(mountfs.Volume{ID: v.ID, Name: at.Device, Size: v.Bytes()}); err == nil {
		obs.device = &dev
	}
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
	if v := obs.choice.volume; v != nil && obs.choice.arrived {
		parts = append(parts, v.ID+" came with the launch")
	} else if v != nil {
		parts = append(parts, v.ID+" is "+v.State)
	} else {
		parts = append(parts, "no volume of this source")
	}
	return strings.Join(parts, ", ")
}
