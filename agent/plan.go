package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// PlanAction is one thing that [Agent.Up] would do.
type PlanAction struct {
	Step Step   `json:"step"`
	What string `json:"what"`
}

// Plan observes and decides as [Agent.Up] does and reports the actions that Up
// would take, none when the source is ready. It changes nothing. Errors are those
// that Up would end with.
func (a *Agent) Plan(ctx context.Context, cfg config.Config) (Report, error) {
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	way := &entrance{hook: cfg.LifecycleHook}
	return a.eachSource(cfg, func(b *boot) error {
		b.entrance = way
		if r, ok := b.nothingToDo(ctx); ok {
			b.report.fromRecord(r)
			b.report.State = StateReady
			return nil
		}
		return b.owning(ctx, b.plan)
	})
}

func (b *boot) plan(ctx context.Context) error {
	self, err := b.identify(ctx)
	if err != nil {
		return err
	}
	sv, err := b.survey(ctx, self)
	if err != nil {
		return err
	}
	b.report.State = volumeState(sv.choice.volume)
	c, err := b.choose(ctx, sv)
	if err != nil {
		return err
	}
	b.planVolume(c)
	if err := b.planContents(c, sv.device); err != nil {
		return err
	}
	b.planMounts(sv)
	b.planAnnounce(c)
	if err := b.planRoles(ctx); err != nil {
		return err
	}
	if b.entrance.underWay() {
		b.would(Announce, "continue the lifecycle hook %s of %s", b.entrance.hook, b.entrance.Group)
	}
	return nil
}

func (b *boot) would(s Step, format string, args ...any) {
	b.report.Actions = append(b.report.Actions, PlanAction{s, fmt.Sprintf(format, args...)})
}

func (b *boot) planVolume(c choice) {
	for _, v := range c.failed {
		b.would(Create, "first delete %s, which is in the state error", v.ID)
	}
	switch {
	case c.volume != nil:
		b.report.Volume, b.report.Snapshot = c.volume.ID, c.volume.SnapshotID
	case c.snapshot != nil:
		b.would(Create, "a volume from %s: %d GiB, %s, in %s", c.snapshot.ID, c.sizeGiB, b.src.VolumeType, b.self.Zone)
	default:
		b.would(Create, "a blank volume: %d GiB, %s, in %s", c.sizeGiB, b.src.VolumeType, b.self.Zone)
	}
	if c.volume == nil {
		b.would(Attach, "as %s", b.src.Device)
	} else if _, ok := c.volume.AttachmentTo(b.self.InstanceID); !ok {
		b.would(Attach, "%s as %s", c.volume.ID, b.src.Device)
	}
}

// planContents looks at the device where it is there already; a volume that is yet
// to come is known by its snapshot only.
func (b *boot) planContents(c choice, dev *mountfs.Device) error {
	if dev == nil {
		if c.volume == nil && c.snapshot == nil {
			b.would(Inspect, "format the blank volume as XFS")
		}
		return nil
	}
	mounts, err := b.agent.Host.Mounts()
	if err != nil || mountedAt(mounts, b.src.Mount, *dev) {
		return err
	}
	disk, err := b.agent.Host.OpenDisk(*dev)
	if err != nil {
		return err
	}
	defer disk.Close() //nolint:errcheck // only read from
	contents, err := disk.Probe(mountfs.UUIDFor(c.volume.ID))
	if err != nil {
		return err
	}
	format, err := decideFormat(b.src.Name, b.self.InstanceID, *c.volume, *dev, contents)
	if format {
		b.would(Inspect, "format %s as XFS", dev.Node)
	}
	return err
}

func (b *boot) planMounts(sv seen) {
	if sv.targets[0].State != mountfs.Mounted {
		b.would(Mount, "at %s with %s", b.src.Mount, strings.Join(b.src.MountOptions, ","))
	}
	for i, bind := range b.src.Binds {
		if sv.targets[i+1].State != mountfs.Mounted {
			b.would(Mount, "%s/%s bound to %s", b.src.Mount, bind.Dir, bind.Target)
		}
	}
}

func (b *boot) planAnnounce(c choice) {
	if c.volume != nil {
		if a, ok := c.volume.AttachmentTo(b.self.InstanceID); ok && a.DeleteOnTermination && a.State == ec2ops.Attached {
			return
		}
	}
	b.would(Announce, "deleted when %s terminates", b.self.InstanceID)
}

func (b *boot) planRoles(ctx context.Context) error {
	if b.cfg.Roles.None() || b.entrance.ToBeWarmed() {
		return nil
	}
	instance, err := b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	if err != nil {
		return err
	}
	set := b.cfg.Roles.Put(instance.Tags)
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if instance.Tags[key] == set[key] {
			continue
		}
		b.would(Announce, "tag %s=%s", key, set[key])
	}
	return nil
}
