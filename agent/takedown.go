package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// takeDown unmounts a volume, detaches it and, with remove, deletes it. EC2's lists may be
// stale, so it asks the kernel for the mounts and users of the device. It detaches nothing
// that is in use.
func (r *run) takeDown(ctx context.Context, v ec2ops.Volume, remove bool) error {
	return r.takeDownFrom(ctx, v, r.lostDevice(v), remove)
}

// takeDownFrom is takeDown for a volume whose device may be lost; see [run.lostDevice].
func (r *run) takeDownFrom(ctx context.Context, v ec2ops.Volume, lost *mountfs.Device, remove bool) error {
	r.endWarming(ctx)
	if err := r.unmount(ctx, v, lost); err != nil {
		return err
	}
	if err := r.detach(ctx, v); err != nil {
		return err
	}
	if !remove {
		return nil
	}
	return r.remove(ctx, v)
}

// mountsOf lists the mounts of a device in unmount order: binds first, then the file system.
// If a mount is covered by one of another device, it returns ErrBusy.
func (r *run) mountsOf(dev mountfs.Device) (list []mountfs.Mount, err error) {
	all, err := r.host.Mounts()
	if err != nil {
		return nil, err
	}
	for _, whole := range []bool{false, true} {
		for _, m := range slices.Backward(all) {
			if m.Major != dev.Major || m.Minor != dev.Minor || (m.Target == r.src.Mount) != whole {
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

// unmountable lists the volume's mounts in unmount order. It fails if a mount is covered or
// the file system is frozen: unmounted, it would stay frozen, and no mountpoint would be left
// to thaw it by. dev is nil if the kernel shows no device, and has lost none.
func (r *run) unmountable(v ec2ops.Volume, lost *mountfs.Device) (dev *mountfs.Device, mounts []mountfs.Mount, err error) {
	if dev, err = r.deviceOf(v); err != nil {
		return nil, nil, err
	}
	if dev == nil {
		dev = lost
	}
	if dev == nil {
		return nil, nil, nil
	}
	if mounts, err = r.mountsOf(*dev); err != nil || len(mounts) == 0 {
		return dev, nil, err
	}
	err = r.host.CheckNotFrozen(mounts[len(mounts)-1].Target)
	if errors.Is(err, mountfs.ErrShutdown) { // it can only be unmounted
		err = nil
	}
	return dev, mounts, err
}

// lostDevice returns the recorded device of a volume that is still mounted although the kernel
// no longer shows the device: the volume was detached by force. nil if that is not so. The
// mount keeps the device's number from being used again, but after an unmount another disk may
// have it. So the file system must be at the source's mountpoint.
func (r *run) lostDevice(v ec2ops.Volume) *mountfs.Device {
	known, err := r.host.LoadRecord(r.src.Name)
	if err != nil || known.Volume != v.ID || known.Major == 0 {
		return nil
	}
	if dev, err := r.deviceOf(v); err != nil || dev != nil {
		return nil
	}
	dev := &mountfs.Device{Node: known.Node, Major: known.Major, Minor: known.Minor}
	all, err := r.host.Mounts()
	here := slices.ContainsFunc(all, func(m mountfs.Mount) bool {
		return m.Target == r.src.Mount && m.Root == "/" && m.Major == dev.Major && m.Minor == dev.Minor
	})
	if err != nil || !here {
		return nil
	}
	return dev
}

// unmount unmounts everything from the volume's device. If that fails, or the device is still
// in use, for example by a container with its own mount namespace, it restores all mounts.
func (r *run) unmount(ctx context.Context, v ec2ops.Volume, lost *mountfs.Device) (err error) {
	s := r.Begin(report.Unmount)
	defer s.End(&err)
	s.Detail = "nothing is mounted"
	dev, mounts, err := r.unmountable(v, lost)
	if err != nil || dev == nil {
		return err
	}
	if len(mounts) > 0 {
		s.Detail = ""
	}
	for i, m := range mounts {
		if err := r.host.Unmount(m.Target); err != nil {
			if errors.Is(err, mountfs.ErrBusy) {
				err = failure.Advise(err, "stop what uses it (fuser -vm "+m.Target+" lists that), then run it again")
			}
			return failure.FollowedBy(err, r.restoreMounts(*dev, mounts[:i]))
		}
		s.Detail += m.Target + " "
	}
	users, err := r.host.Users(ctx, *dev)
	if err != nil || len(users) == 0 {
		return err
	}
	inUse := fmt.Errorf("%w: %s (%s) is used by %s; nothing is detached", mountfs.ErrBusy, dev.Node, v.ID, strings.Join(users, ", "))
	inUse = failure.Advise(inUse, "stop "+strings.Join(users, ", ")+", then run it again")
	return failure.FollowedBy(inUse, r.restoreMounts(*dev, mounts))
}

// restoreMounts mounts again what was unmounted, in reverse order.
func (r *run) restoreMounts(dev mountfs.Device, mounts []mountfs.Mount) error {
	for _, m := range slices.Backward(mounts) {
		var err error
		if m.Root == "/" {
			_, err = r.host.MountXFS(dev, m.Target, r.src.MountOptions)
		} else {
			_, err = r.host.Bind(r.src.Mount, strings.TrimPrefix(m.Root, "/"), m.Target, false)
		}
		if err != nil {
			return fmt.Errorf("mount it again: %w", err)
		}
	}
	if len(mounts) > 0 {
		r.Note("the Source is mounted again, without its roles: snapsource up announces it")
	}
	return nil
}

// deviceGonePoll is the poll interval while the kernel still shows a detached device.
const deviceGonePoll = 200 * time.Millisecond

// detach detaches the volume and waits until EC2 reports it as available and the kernel no
// longer shows its device. It needs both: EC2 may still report a volume as available that was
// attached a moment ago. The device must not be in use.
func (r *run) detach(ctx context.Context, v ec2ops.Volume) (err error) {
	s := r.Begin(report.Detach)
	defer s.End(&err)
	defer r.InEC2()()
	s.Detail = v.ID
	if err := r.requestDetach(ctx, v); err != nil {
		return err
	}
	now, err := r.cloud.Volumes.WaitVolume(ctx, v.ID, ec2ops.PollShown, func(v ec2ops.Volume) (bool, error) {
		return v.State == ec2ops.VolumeAvailable || v.State == ec2ops.VolumeError || v.Gone(), nil
	}, func(v ec2ops.Volume) { s.Waiting(v.ID + " is " + v.String()) })
	if errors.Is(err, ec2ops.ErrNotFound) {
		now, err = ec2ops.Volume{ID: v.ID, State: "gone"}, nil
	}
	if err != nil {
		return err
	}
	for {
		dev, err := r.deviceOf(now)
		if err != nil || dev == nil {
			return err
		}
		shows := v.ID + " is " + now.State + ", but the kernel still shows its device"
		s.Waiting(shows)
		if err := r.Pause(ctx, deviceGonePoll, "the device to disappear"); err != nil {
			return fmt.Errorf("%s: %w", shows, err)
		}
	}
}

// requestDetach calls DetachVolume, unless the volume is already being detached or not attached.
func (r *run) requestDetach(ctx context.Context, v ec2ops.Volume) error {
	now, err := r.cloud.Volumes.Volume(ctx, v.ID)
	if errors.Is(err, ec2ops.ErrNotFound) {
		now, err = v, nil // deleted, though EC2 listed it a moment ago
	}
	if err != nil {
		return err
	}
	dev, err := r.deviceOf(now)
	if err != nil {
		return err
	}
	a, attached := now.AttachmentTo(r.Self.InstanceID)
	if dev == nil && !attached && now.State == ec2ops.VolumeInUse {
		return fmt.Errorf("%w: %s carries the tags of this instance but is attached to %s", failure.ErrRefused, v.ID, now.Attachments[0].InstanceID)
	}
	if dev == nil && (!attached || a.State == ec2ops.Detaching) {
		return nil
	}
	return r.cloud.Attachments.Detach(ctx, v.ID, r.Self.InstanceID)
}

func (r *run) remove(ctx context.Context, v ec2ops.Volume) (err error) {
	s := r.Begin(report.Delete)
	defer s.End(&err)
	defer r.InEC2()()
	s.Detail = v.ID
	for until := time.Now().Add(inUseTimeout); ; {
		err := r.cloud.Volumes.DeleteVolume(ctx, v.ID)
		if !errors.Is(err, ec2ops.ErrVolumeInUse) || time.Now().After(until) {
			return err
		}
		// EC2 reported it as available before it was detached.
		s.Waiting(failure.Line(err))
		if waitErr := r.Pause(ctx, inUsePoll, v.ID); waitErr != nil {
			return fmt.Errorf("%w: %w", err, waitErr)
		}
	}
}
