package agent

import (
	"context"
	"fmt"
	"slices"

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
func (a *Agent) Down(ctx context.Context, cfg Config, remove bool) (Report, error) {
	ctx, cancel := withDeadline(ctx, cfg.Timeout)
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
	if err := b.withdraw(ctx, func() error { return b.agent.Host.DropRecord(b.src.Name) }); err != nil {
		return err
	}
	for _, v := range volumes {
		if err := b.unmount(v); err != nil {
			return err
		}
		if err := b.detach(ctx, v); err != nil {
			return err
		}
		if remove {
			if err := b.remove(ctx, v); err != nil {
				return err
			}
		}
	}
	b.report.State, b.report.Changed = StateAbsent, len(volumes) > 0
	return nil
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
	if !b.cfg.Roles.none() {
		s.detail = "roles off"
	}
	if err := forget(); err != nil {
		return err
	}
	return b.withdrawRoles(ctx)
}

// unmount unmounts all that is mounted from the volume's device here.
func (b *boot) unmount(v ec2ops.Volume) (err error) {
	s := b.begin(Unmount)
	defer s.end(&err)
	s.detail = "nothing is mounted"
	at, ok := v.AttachmentTo(b.self.InstanceID)
	if !ok {
		return nil
	}
	dev, err := b.agent.Host.Find(mountfs.Volume{ID: v.ID, Name: at.Device, Size: v.Bytes()})
	if err != nil {
		return nil //nolint:nilerr // no device here, so no mount of it
	}
	mounts, err := b.agent.Host.Mounts()
	if err != nil {
		return err
	}
	s.detail = ""
	// The file system itself last: its directories are bound elsewhere.
	for _, whole := range []bool{false, true} {
		for _, m := range slices.Backward(mounts) {
			if m.Major != dev.Major || m.Minor != dev.Minor || (m.Target == b.src.Mount) != whole {
				continue
			}
			if err := b.agent.Host.Unmount(m.Target); err != nil {
				return fmt.Errorf("%w; stop what uses it (fuser -vm %s)", err, m.Target)
			}
			s.detail += m.Target + " "
		}
	}
	return nil
}

func (b *boot) detach(ctx context.Context, v ec2ops.Volume) (err error) {
	s := b.begin(Detach)
	defer s.end(&err)
	defer b.inEC2.enter()()
	s.detail = v.ID
	return b.release(ctx, s, v.ID)
}

// release has a volume detached from this instance and waits until it is available.
func (b *boot) release(ctx context.Context, s *step, id string) error {
	free := func(v ec2ops.Volume) (bool, error) {
		return v.State == ec2ops.VolumeAvailable || v.State == ec2ops.VolumeError || v.Gone(), nil
	}
	v, err := b.agent.Cloud.Volume(ctx, id)
	if err != nil {
		return err
	}
	if ok, _ := free(v); ok {
		return nil
	}
	if a, ok := v.AttachmentTo(b.self.InstanceID); ok && a.State != ec2ops.Detaching {
		if err := b.agent.Cloud.Detach(ctx, id, b.self.InstanceID); err != nil {
			return err
		}
	}
	_, err = b.agent.Cloud.WaitVolume(ctx, id, ec2ops.PaceAny, free, func(v ec2ops.Volume) { s.waiting(id + " is " + v.String()) })
	return err
}

func (b *boot) remove(ctx context.Context, v ec2ops.Volume) (err error) {
	s := b.begin(Delete)
	defer s.end(&err)
	defer b.inEC2.enter()()
	s.detail = v.ID
	return b.agent.Cloud.DeleteVolume(ctx, v.ID)
}
