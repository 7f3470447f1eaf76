package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/launchhook"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Down undoes [Agent.Up] in reverse order: it removes the roles, unmounts the binds and the
// file system, detaches the volume and, with remove, deletes it. It is idempotent and may be
// re-run after any failure.
func (a *Agent) Down(ctx context.Context, cfg config.Config, remove bool) (report.Report, error) {
	if err := a.supported(); err != nil {
		return report.Report{}, err
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	unlock, err := a.lock(ctx)
	if err != nil {
		return report.Report{}, err
	}
	defer unlock() //nolint:errcheck // the kernel releases the lock with the process at the latest
	return report.Each(cfg.Sources, a.Events, func(r *report.Run, src config.Source) error {
		down := a.run(r, cfg, src)
		return down.down(r.WithPauses(ctx), remove, a.Confirm)
	})
}

func (r *run) down(ctx context.Context, remove bool, confirm func(context.Context, string, []ec2ops.Volume) error) error {
	if err := r.identify(ctx, launchhook.New(r.cloud.Group, "")); err != nil {
		return err
	}
	volumes, err := r.findVolumes(ctx)
	if err != nil {
		return err
	}
	lost := map[string]*mountfs.Device{} // by volume, from the record, which is dropped below
	for _, v := range volumes {
		lost[v.ID] = r.lostDevice(v)
		if _, _, err := r.unmountable(v, lost[v.ID]); err != nil {
			return fmt.Errorf("%s: %w", r.src.Name, err)
		}
	}
	r.endWarming(ctx)
	if err := r.checkUnused(volumes, lost); err != nil {
		return err
	}
	if remove && confirm != nil && len(volumes) > 0 {
		if err := confirm(ctx, r.src.Name, volumes); err != nil {
			return err
		}
	}
	for _, v := range volumes {
		if v.Tags[ec2ops.TagInstance] == "" { // detached, only its tags lead to it
			if err := r.tagAsOurs(ctx, v, "", ""); err != nil {
				return err
			}
		}
	}
	if err := r.unmountOthers(ctx, volumes); err != nil {
		return err
	}
	attached := slices.ContainsFunc(volumes, func(v ec2ops.Volume) bool { _, ok := v.AttachmentTo(r.Self.InstanceID); return ok })
	if _, err := r.host.LoadRecord(r.src.Name); err != nil && attached && r.roles.Wanted.None() {
		r.Note("no record says which roles the instance has (" + failure.Line(err) + "): if it has any, run down with --role and their names")
	}
	served := slices.DeleteFunc(slices.Clone(volumes), r.marked) // read the record before it is dropped
	if err := r.withdraw(ctx, func() error { return r.host.DropRecord(r.src.Name) }, false); err != nil {
		return err
	}
	for _, v := range served {
		if !remove {
			r.tagServed(ctx, v)
		}
	}
	for _, v := range volumes {
		if err := r.takeDownFrom(ctx, v, lost[v.ID], remove); err != nil {
			return err
		}
	}
	r.Report.State, r.Report.Changed = report.StateAbsent, len(volumes) > 0
	return nil
}

// checkUnused refuses to take down what is in use, before anything is changed: also another
// source of the run, for they share the instance's roles.
func (r *run) checkUnused(volumes []ec2ops.Volume, lost map[string]*mountfs.Device) error {
	for _, v := range volumes {
		dev, err := r.deviceOf(v)
		if err != nil {
			return err
		}
		if dev == nil {
			dev = lost[v.ID]
		}
		if dev == nil {
			continue
		}
		if err := r.checkHolders(*dev); err != nil {
			return fmt.Errorf("%s: %w; nothing is changed: stop that first", r.src.Name, err)
		}
	}
	for _, src := range r.cfg.Sources {
		known, err := r.host.LoadRecord(src.Name)
		if err != nil || src.Name == r.src.Name {
			continue
		}
		dev, err := r.host.Find(known.Wants())
		if err != nil {
			continue
		}
		if err := r.checkHolders(dev); err != nil {
			return fmt.Errorf("%s: nothing is changed, because of the source %s: %w", r.src.Name, src.Name, err)
		}
	}
	return nil
}

// checkHolders returns ErrBusy, with the names of those who use a device's mounts.
func (r *run) checkHolders(dev mountfs.Device) error {
	holders, err := r.host.Holders(dev)
	if err != nil || len(holders) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s is used by %s", mountfs.ErrBusy, r.mountedWhere(dev), strings.Join(holders, ", "))
}

// mountedWhere returns a device and its mountpoints, for people.
func (r *run) mountedWhere(dev mountfs.Device) string {
	all, err := r.host.Mounts()
	if err != nil {
		return dev.Node
	}
	var targets []string
	for _, m := range all {
		if m.Major == dev.Major && m.Minor == dev.Minor {
			targets = append(targets, m.Target)
		}
	}
	if len(targets) == 0 {
		return dev.Node
	}
	return strings.Join(targets, ", ") + " (" + dev.Node + ")"
}

// tagServed tags a volume as one that was in service, before its record and attachment are
// removed. Its data may exist nowhere else, so no launch must replace it.
func (r *run) tagServed(ctx context.Context, v ec2ops.Volume) {
	if v.Tags[ec2ops.TagStarted] != "" {
		return
	}
	start := releases.StartTag(r.Self)
	if releases.StartedSince(v, r.Self) { // keep this start unhandled
		start = v.Created.UTC().Format(time.RFC3339)
	}
	defer r.InEC2()()
	if err := r.cloud.Volumes.Tag(ctx, v.ID, map[string]string{ec2ops.TagStarted: start}); err != nil {
		r.Note(v.ID + " was in service, but could not be tagged so: " + failure.Line(err))
	}
}

// findVolumes lists the live volumes of this instance and source.
func (r *run) findVolumes(ctx context.Context) (volumes []ec2ops.Volume, err error) {
	s := r.Begin(report.Survey)
	defer s.End(&err)
	defer r.InEC2()()
	if volumes, err = r.cloud.Volumes.Volumes(ctx, r.Self.InstanceID, r.src.Name); err != nil {
		return nil, err
	}
	if volumes, err = r.addRecorded(ctx, volumes); err != nil {
		return nil, err
	}
	if volumes, err = r.addMounted(ctx, volumes); err != nil {
		return nil, err
	}
	volumes = slices.DeleteFunc(volumes, ec2ops.Volume.Gone)
	for _, v := range volumes {
		if ec2ops.UnknownFormat(v.Tags) != "" {
			return nil, laterFormat(v)
		}
	}
	s.Detail = "no volume of this source"
	if len(volumes) > 0 {
		r.Report.Volume, r.Report.Snapshot = volumes[0].ID, volumes[0].SnapshotID
		s.Detail = volumes[0].ID + " is " + volumes[0].State
	}
	return volumes, nil
}

// addRecorded adds the recorded volume of an earlier run if the kernel shows its device and
// EC2 does not list it yet. It may already be mounted.
func (r *run) addRecorded(ctx context.Context, volumes []ec2ops.Volume) ([]ec2ops.Volume, error) {
	known, dev := r.recordedDevice()
	if dev == nil || slices.ContainsFunc(volumes, func(v ec2ops.Volume) bool { return v.ID == known.Volume }) {
		return volumes, nil
	}
	v, err := r.cloud.Volumes.WaitVolume(ctx, known.Volume, ec2ops.PollAny, func(ec2ops.Volume) (bool, error) { return true, nil }, nil)
	if err != nil {
		return nil, err
	}
	return append(volumes, v), nil
}

// addMounted adds a volume that came with the launch and is mounted at the source's mountpoint, though
// no run has claimed it: the run that mounted it was killed.
func (r *run) addMounted(ctx context.Context, volumes []ec2ops.Volume) ([]ec2ops.Volume, error) {
	if len(volumes) > 0 {
		return volumes, nil
	}
	d, err := r.mountedUnclaimed()
	if err != nil || d == nil {
		return volumes, err
	}
	launched, _ := r.cloud.Metadata.LaunchDevices(ctx)
	attached, err := r.cloud.Volumes.Attached(ctx, r.Self.InstanceID)
	if err != nil {
		return nil, err
	}
	if v := decideArrival(r.src, r.Self, launched.Root, attached).volume; v != nil && v.ID == d.Volume {
		volumes = append(volumes, *v)
	}
	return volumes, nil
}

// mountedUnclaimed returns the device at the source's mountpoint if no run has recorded it; nil if there
// is none.
func (r *run) mountedUnclaimed() (*mountfs.VolumeDevice, error) {
	mounts, err := r.host.Mounts()
	if err != nil {
		return nil, err
	}
	if _, any := mountfs.MountAt(mounts, r.src.Mount); !any {
		return nil, nil
	}
	shown, err := r.host.VolumeDevices()
	if err != nil {
		return nil, err
	}
	recorded := ""
	if known, err := r.host.LoadRecord(r.src.Name); err == nil {
		recorded = known.Volume
	}
	for _, d := range shown {
		if mountfs.MountedAt(mounts, r.src.Mount, d.Device) && recorded != d.Volume {
			return &d, nil
		}
	}
	return nil, nil
}

// unmountOthers unmounts what a run that was killed had mounted early, and is not among the source's
// volumes: it stays attached. Before the record is dropped, which says so.
func (r *run) unmountOthers(ctx context.Context, volumes []ec2ops.Volume) error {
	mounts, err := r.host.Mounts()
	if err != nil {
		return err
	}
	shown, err := r.host.VolumeDevices()
	if err != nil {
		return err
	}
	d, ok := r.markedEarly(mounts, shown)
	if !ok || slices.ContainsFunc(volumes, func(v ec2ops.Volume) bool { return v.ID == d.Volume }) {
		return nil
	}
	r.Note(d.Volume + " is not the source's, and stays attached: a run that was killed had mounted it")
	return r.unmount(ctx, ec2ops.Volume{ID: d.Volume}, nil)
}
