package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// The steps of [Agent.Down].
const (
	Withdraw Step = "withdraw" // the roles, so that no deployment comes any more
	Unmount  Step = "unmount"  // the binds, then the file system
	Detach   Step = "detach"   // the volume
	Delete   Step = "delete"   // the volume, if asked for
)

// Down undoes [Agent.Up], in the reverse order: roles off, binds and file system
// unmounted, volume detached and, with remove, deleted. It may be run again after
// any failure, and has nothing to do when nothing is there.
func (a *Agent) Down(ctx context.Context, cfg config.Config, remove bool) (Report, error) {
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	unlock, err := a.lock(ctx)
	if err != nil {
		return Report{}, err
	}
	defer unlock() //nolint:errcheck // the kernel releases the lock with the process at the latest
	return a.eachSource(cfg, func(b *boot) error {
		return b.owning(ctx, func(ctx context.Context) error { return b.down(ctx, remove) })
	})
}

func (b *boot) down(ctx context.Context, remove bool) error {
	if _, err := b.identify(ctx); err != nil {
		return err
	}
	volumes, err := b.findVolumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if err := b.notInTheWay(v); err != nil {
			return err
		}
	}
	served := slices.DeleteFunc(slices.Clone(volumes), b.marked) // by the record, which is dropped now
	if err := b.withdraw(ctx, func() error { return b.agent.Host.DropRecord(b.src.Name) }); err != nil {
		return err
	}
	for _, v := range served {
		if !remove {
			b.keepServed(ctx, v)
		}
	}
	for _, v := range volumes {
		if err := b.takeDown(ctx, v, remove); err != nil {
			return err
		}
	}
	b.report.State, b.report.Changed = StateAbsent, len(volumes) > 0
	return nil
}

// keepServed notes on a volume that it was in service, before the record of that is dropped
// and its attachment gone: what is on it may be nowhere else, so no launch replaces it.
func (b *boot) keepServed(ctx context.Context, v ec2ops.Volume) {
	if v.Tags[ec2ops.TagStarted] != "" {
		return
	}
	start := releases.StartTag(b.self)
	if releases.StartedSince(v, b.self) { // which nobody has dealt with
		start = v.Created.UTC().Format(time.RFC3339)
	}
	defer b.inEC2.enter()()
	if err := b.agent.Cloud.Tag(ctx, v.ID, map[string]string{ec2ops.TagStarted: start}); err != nil {
		b.note(v.ID + " could not be tagged as one that was in service: " + failure.Line(err))
	}
}

// findVolumes lists this instance's and source's volumes that are not gone.
func (b *boot) findVolumes(ctx context.Context) (volumes []ec2ops.Volume, err error) {
	s := b.begin(Survey)
	defer s.end(&err)
	defer b.inEC2.enter()()
	if volumes, err = b.agent.Cloud.Volumes(ctx, b.self.InstanceID, b.src.Name); err != nil {
		return nil, err
	}
	if volumes, err = b.addRecorded(ctx, volumes); err != nil {
		return nil, err
	}
	volumes = slices.DeleteFunc(volumes, ec2ops.Volume.Gone)
	s.detail = "no volume of this source"
	if len(volumes) > 0 {
		b.report.Volume, b.report.Snapshot = volumes[0].ID, volumes[0].SnapshotID
		s.detail = volumes[0].ID + " is " + volumes[0].State
	}
	return volumes, nil
}

// addRecorded adds the volume that a run of up has left a record of, if the kernel has
// it and EC2's list does not show it yet: it may be mounted already.
func (b *boot) addRecorded(ctx context.Context, volumes []ec2ops.Volume) ([]ec2ops.Volume, error) {
	r, err := b.agent.Host.LoadRecord(b.src.Name)
	if err != nil || slices.ContainsFunc(volumes, func(v ec2ops.Volume) bool { return v.ID == r.Volume }) {
		return volumes, nil //nolint:nilerr // no record, no more volumes
	}
	if _, err := b.agent.Host.Find(mountfs.Volume{ID: r.Volume, Name: r.Device, Size: r.Size}); err != nil {
		return volumes, nil //nolint:nilerr // no device here, so no mount of it
	}
	v, err := b.agent.Cloud.WaitVolume(ctx, r.Volume, ec2ops.PaceAny, func(ec2ops.Volume) (bool, error) { return true, nil }, nil)
	if err != nil {
		return nil, err
	}
	return append(volumes, v), nil
}

// withdraw takes the roles off. Before, forget makes the record one that up does not
// believe.
func (b *boot) withdraw(ctx context.Context, forget func() error) (err error) {
	s := b.begin(Withdraw)
	defer s.end(&err)
	s.detail = "no roles are configured"
	if !b.cfg.Roles.None() {
		s.detail = "roles off"
	}
	areNew := b.newRoles()
	if err := forget(); err != nil {
		return err
	}
	return b.withdrawRoles(ctx, areNew)
}

// takeDown takes a volume from this instance: unmounts all that is mounted from it here,
// detaches it and, with remove, deletes it. EC2's lists may be late; the kernel says what
// is mounted from the volume and who else uses it, and nothing is detached before it says
// nobody.
func (b *boot) takeDown(ctx context.Context, v ec2ops.Volume, remove bool) error {
	if err := b.unmount(ctx, v); err != nil {
		return err
	}
	if err := b.detach(ctx, v); err != nil {
		return err
	}
	if !remove {
		return nil
	}
	return b.remove(ctx, v)
}

// deviceOf finds the volume's device on this host, by its id where the kernel shows that,
// else by a device name: that of its attachment, or of the record of an earlier run.
func (b *boot) deviceOf(v ec2ops.Volume) (dev mountfs.Device, found bool, err error) {
	name := ""
	if r, err := b.agent.Host.LoadRecord(b.src.Name); err == nil && r.Volume == v.ID {
		name = r.Device
	}
	if at, ok := v.AttachmentTo(b.self.InstanceID); ok {
		name = at.Device
	}
	dev, err = b.agent.Host.Find(mountfs.Volume{ID: v.ID, Name: name, Size: v.Bytes()})
	if errors.Is(err, mountfs.ErrNoDevice) {
		return dev, false, nil
	}
	return dev, err == nil, err
}

// mountsOf lists what is mounted from a device here, in the order in which it can be
// unmounted: the file system itself last, as its directories are bound elsewhere. What
// somebody else has mounted on top of one can't be unmounted for him: ErrBusy.
func (b *boot) mountsOf(dev mountfs.Device) (list []mountfs.Mount, err error) {
	all, err := b.agent.Host.Mounts()
	if err != nil {
		return nil, err
	}
	for _, whole := range []bool{false, true} {
		for _, m := range slices.Backward(all) {
			if m.Major != dev.Major || m.Minor != dev.Minor || (m.Target == b.src.Mount) != whole {
				continue
			}
			if top, _ := mountfs.MountAt(all, m.Target); top.Major != dev.Major || top.Minor != dev.Minor {
				return nil, fmt.Errorf("%w: %s is covered by a mount of %s (%s); unmount that first", mountfs.ErrBusy, m.Target, top.Source, top.FSType)
			}
			list = append(list, m)
		}
	}
	return list, nil
}

// notInTheWay refuses to take down a volume whose file system somebody has frozen, or
// covered by another mount. Unmounted, it would stay frozen, with no mountpoint by which it
// could be thawed.
func (b *boot) notInTheWay(v ec2ops.Volume) error {
	dev, found, err := b.deviceOf(v)
	if err != nil || !found {
		return err
	}
	mounts, err := b.mountsOf(dev)
	if err != nil || len(mounts) == 0 {
		return err
	}
	return b.agent.Host.NotFrozen(mounts[len(mounts)-1].Target)
}

// unmount unmounts all that is mounted from the volume's device here. When that fails, or
// somebody else still uses the device, a container in a mount namespace of its own for
// instance, all is mounted again.
func (b *boot) unmount(ctx context.Context, v ec2ops.Volume) (err error) {
	s := b.begin(Unmount)
	defer s.end(&err)
	s.detail = "nothing is mounted"
	dev, found, err := b.deviceOf(v)
	if err != nil || !found {
		return err
	}
	if err := b.notInTheWay(v); err != nil {
		return err
	}
	mounts, err := b.mountsOf(dev)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		s.detail = ""
	}
	for i, m := range mounts {
		if err := b.agent.Host.Unmount(m.Target); err != nil {
			err = fmt.Errorf("%w; stop what uses it (fuser -vm %s)", err, m.Target)
			return errors.Join(err, b.mountAgain(dev, mounts[:i]))
		}
		s.detail += m.Target + " "
	}
	users, err := b.agent.Host.Users(ctx, dev)
	if err != nil || len(users) == 0 {
		return err
	}
	inUse := fmt.Errorf("%w: %s (%s) is used by %s; nothing is detached: stop that and run it again",
		mountfs.ErrBusy, dev.Node, v.ID, strings.Join(users, ", "))
	return errors.Join(inUse, b.mountAgain(dev, mounts))
}

// mountAgain mounts what was unmounted, the last first, and gives the error only.
func (b *boot) mountAgain(dev mountfs.Device, mounts []mountfs.Mount) error {
	for _, m := range slices.Backward(mounts) {
		var err error
		if m.Root == "/" {
			_, err = b.agent.Host.MountXFS(dev, m.Target, b.src.MountOptions)
		} else {
			_, err = b.agent.Host.Bind(b.src.Mount, strings.TrimPrefix(m.Root, "/"), m.Target, false)
		}
		if err != nil {
			return fmt.Errorf("mount it again: %w", err)
		}
	}
	if len(mounts) > 0 {
		b.note("the Source is mounted again, without its roles: snapsource up announces it")
	}
	return nil
}

func (b *boot) detach(ctx context.Context, v ec2ops.Volume) (err error) {
	s := b.begin(Detach)
	defer s.end(&err)
	defer b.inEC2.enter()()
	s.detail = v.ID
	return b.release(ctx, s, v)
}

// gonePoll is the pause between two looks at whether the kernel still shows a device.
const gonePoll = 200 * time.Millisecond

// release has a volume detached from this instance, and waits until EC2 calls it
// available and the kernel does not show it any more: EC2 may still call available what
// was attached a moment ago. The device must be in no use.
func (b *boot) release(ctx context.Context, s *step, v ec2ops.Volume) error {
	now, err := b.agent.Cloud.Volume(ctx, v.ID)
	if errors.Is(err, ec2ops.ErrNotFound) {
		now, err = v, nil // gone, though it was listed a moment ago
	}
	if err != nil {
		return err
	}
	_, shown, err := b.deviceOf(now)
	if err != nil {
		return err
	}
	a, attached := now.AttachmentTo(b.self.InstanceID)
	if !shown && !attached && now.State == ec2ops.VolumeInUse {
		return fmt.Errorf("%w: %s carries the tags of this instance but is attached to %s", failure.ErrRefused, v.ID, now.Attachments[0].InstanceID)
	}
	if shown || attached && a.State != ec2ops.Detaching {
		if err := b.agent.Cloud.Detach(ctx, v.ID, b.self.InstanceID); err != nil {
			return err
		}
	}
	now, err = b.agent.Cloud.WaitVolume(ctx, v.ID, ec2ops.PaceSeen, func(v ec2ops.Volume) (bool, error) {
		return v.State == ec2ops.VolumeAvailable || v.State == ec2ops.VolumeError || v.Gone(), nil
	}, func(v ec2ops.Volume) { s.waiting(v.ID + " is " + v.String()) })
	if errors.Is(err, ec2ops.ErrNotFound) {
		now, err = ec2ops.Volume{ID: v.ID, State: "gone"}, nil
	}
	if err != nil {
		return err
	}
	for {
		if _, shown, err = b.deviceOf(now); err != nil || !shown {
			return err
		}
		s.waiting(v.ID + " is " + now.State + ", and the kernel still shows its device")
		if err := b.pause(ctx, gonePoll, "the device's end"); err != nil {
			return fmt.Errorf("%s is %s, and the kernel still shows its device: %w", v.ID, now.State, err)
		}
	}
}

func (b *boot) remove(ctx context.Context, v ec2ops.Volume) (err error) {
	s := b.begin(Delete)
	defer s.end(&err)
	defer b.inEC2.enter()()
	s.detail = v.ID
	for until := time.Now().Add(inUseShown); ; {
		err := b.agent.Cloud.DeleteVolume(ctx, v.ID)
		if !errors.Is(err, ec2ops.ErrVolumeInUse) || time.Now().After(until) {
			return err
		}
		// EC2 has called it available before it was detached.
		s.waiting(failure.Line(err))
		if waitErr := b.pause(ctx, inUsePoll, v.ID); waitErr != nil {
			return fmt.Errorf("%w: %w", err, waitErr)
		}
	}
}
