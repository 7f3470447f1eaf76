package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Plan observes and decides like [Agent.Up], and reports the actions that Up would take;
// none if the source is ready. It changes nothing. It returns the errors that Up would return.
func (a *Agent) Plan(ctx context.Context, cfg config.Config) (report.Report, error) {
	if err := a.supported(); err != nil {
		return report.Report{}, err
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	all := newShared(a.Cloud, cfg)
	ctx, end := all.calls.scope(ctx)
	defer end()
	return report.Each(cfg.Sources, a.Events, func(r *report.Run, src config.Source) error {
		l := &launch{run: a.run(r, cfg, src), shared: all, hook: all.hook}
		if l.nothingToDo(ctx) {
			return nil
		}
		return l.plan(ctx)
	})
}

func (l *launch) plan(ctx context.Context) error {
	all := ctx
	ctx, end := l.background.scope(l.WithPauses(ctx))
	defer end()
	if err := l.identify(all); err != nil {
		return err
	}
	obs, err := l.survey(ctx, l.ask(ctx, all), mounted{})
	if err != nil {
		return err
	}
	obs.snapshots = l.listLate(ctx, obs.snapshots)
	c, stale, err := l.choose(ctx, obs)
	if err != nil {
		return err
	}
	if stale != nil {
		l.planReplacement(stale)
		return stale.failed
	}
	l.planVolume(c)
	if err := l.planContents(c, obs.device); err != nil {
		return err
	}
	l.planMounts(obs)
	l.planAnnounce(c)
	if err := l.planRoles(ctx); err != nil {
		return err
	}
	if l.hook.Pending() {
		l.addAction(report.Announce, "continue the lifecycle hook %s of %s", l.hook.Name(), l.hook.Group())
	}
	if _, err := l.host.LoadRecord(l.src.Name); err != nil && len(l.Report.Actions) == 0 {
		l.addAction(report.Announce, "the record of the launch, which is all that is missing")
	}
	return nil
}

func (l *launch) addAction(s report.Step, format string, args ...any) {
	l.Report.Actions = append(l.Report.Actions, report.Action{Step: s, What: fmt.Sprintf(format, args...)})
}

// planReplacement reports what up would do with a superseded volume. Up decides on the
// further steps when it has deleted that.
func (l *launch) planReplacement(stale *superseded) {
	l.Report.Volume, l.Report.Snapshot = stale.volume.ID, stale.volume.SnapshotID
	if !l.cfg.Roles.None() {
		l.addAction(report.Withdraw, "roles off")
	}
	l.addAction(report.Delete, "%s", stale)
	if stale.failed == nil {
		l.addAction(report.Create, "a volume from the newest release")
	}
}

func (l *launch) planVolume(c choice) {
	for _, v := range c.failed {
		l.addAction(report.Create, "first delete %s, which is in the state error", v.ID)
	}
	for _, v := range c.discarded {
		l.addAction(report.Delete, "%s, which came with the launch and is not used", v.ID)
	}
	switch {
	case c.volume != nil:
		l.Report.Volume, l.Report.Snapshot = c.volume.ID, c.volume.SnapshotID
		if c.arrived {
			l.addAction(report.Create, "claim %s, which came with the launch", c.volume.ID)
		}
	case c.snapshot != nil:
		l.addAction(report.Create, "a volume from %s%s: %d GiB, %s, in %s", c.snapshot.ID, releases.Origin(c.snapshot).Note(), c.sizeGiB, l.src.VolumeType, l.Self.Zone)
	default:
		l.addAction(report.Create, "a blank volume: %d GiB, %s, in %s", c.sizeGiB, l.src.VolumeType, l.Self.Zone)
	}
	if c.volume == nil {
		l.addAction(report.Attach, "as %s", l.src.Device)
	} else if _, ok := c.volume.AttachmentTo(l.Self.InstanceID); !ok {
		l.addAction(report.Attach, "%s as %s", c.volume.ID, l.src.Device)
	}
}

// planContents probes the device if the volume is already attached. Of a volume that does
// not exist yet only the snapshot is known.
func (l *launch) planContents(c choice, dev *mountfs.Device) error {
	if dev == nil {
		if c.volume == nil && c.snapshot == nil {
			l.addAction(report.Inspect, "format the blank volume as XFS")
		}
		return nil
	}
	mounts, err := l.host.Mounts()
	if err != nil || mountfs.MountedAt(mounts, l.src.Mount, *dev) {
		return err
	}
	disk, err := l.host.OpenDisk(*dev)
	if err != nil {
		return err
	}
	defer disk.Close() //nolint:errcheck // only read from
	contents, err := disk.Probe(mountfs.UUIDFor(c.volume.ID))
	if err != nil {
		return err
	}
	format, err := decideFormat(l.src.Name, l.Self.InstanceID, *c.volume, *dev, contents)
	if format {
		l.addAction(report.Inspect, "format %s as XFS", dev.Node)
	}
	return err
}

func (l *launch) planMounts(obs observed) {
	for i, t := range obs.targets {
		switch {
		case t.State == mountfs.Mounted:
			if differ := mountfs.OptionsDiffer(l.src.MountOptions, t.Mount); len(differ) > 0 {
				l.addAction(report.Mount, "remount %s, which %s", t.Path, mountfs.DescribeDifferences(differ))
			}
		case i == 0:
			l.addAction(report.Mount, "at %s with %s", t.Path, strings.Join(l.src.MountOptions, ","))
		default:
			l.addAction(report.Mount, "%s/%s bound to %s", l.src.Mount, l.src.Binds[i-1].Dir, t.Path)
		}
		if t.Missing != "" && t.Missing != t.Path {
			l.addAction(report.Mount, "create %s, owned by root", t.Missing)
		}
	}
	if known, dev := l.recordedDevice(); dev != nil && !known.Ready.IsZero() && dev.Size > known.Size {
		l.addAction(report.Mount, "grow the file system from %s to %s", gib(known.Size), gib(dev.Size))
	}
}

func (l *launch) planAnnounce(c choice) {
	if c.volume != nil {
		if a, ok := c.volume.AttachmentTo(l.Self.InstanceID); ok && a.DeleteOnTermination && a.State == ec2ops.Attached {
			return
		}
	}
	l.addAction(report.Announce, "deleted when %s terminates", l.Self.InstanceID)
}

func (l *launch) planRoles(ctx context.Context) error {
	if l.cfg.Roles.None() || l.hook.ToBeWarmed() {
		return nil
	}
	instance, err := l.cloud.Attachments.Instance(ctx, l.Self.InstanceID)
	if err != nil {
		return err
	}
	set := l.cfg.Roles.Put(instance.Tags, l.earlierRoles())
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if instance.Tags[key] == set[key] {
			continue
		}
		l.addAction(report.Announce, "tag %s=%s", key, set[key])
	}
	return nil
}

func volumeState(v *ec2ops.Volume) report.State {
	if v == nil {
		return report.StateAbsent
	}
	return report.StateIncomplete
}
