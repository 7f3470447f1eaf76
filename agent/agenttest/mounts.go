package agenttest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"snapsource/agent/deploy"
	"snapsource/agent/hotset"
	"snapsource/mountfs"
)

// Mounts implements [Host].
func (m *Machine) Mounts() ([]mountfs.Mount, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mounts), nil
}

// InspectTarget implements [Host]: a mountpoint is absent until it is used.
func (m *Machine) InspectTarget(path string) (mountfs.Target, error) {
	mounts, err := m.Mounts()
	if err != nil {
		return mountfs.Target{}, err
	}
	if mount, ok := mountfs.MountAt(mounts, path); ok {
		return mountfs.Target{Path: path, State: mountfs.Mounted, Mount: mount}, nil
	}
	return mountfs.Target{Path: path, State: mountfs.Absent}, nil
}

// add mounts a directory of a device, "/" for all of it.
func (m *Machine) add(minor uint32, root, target string) error {
	m.mu.Lock()
	id := len(m.mounts) + 1
	if id > 1 {
		id = m.mounts[len(m.mounts)-1].ID + 1
	}
	m.mounts = append(m.mounts, mountfs.Mount{ID: id, Target: target, Root: root, FSType: "xfs", Major: nvme, Minor: minor, Options: "rw,noatime,nosuid,nodev"})
	m.mu.Unlock()
	return m.cloud.Disks.mounted(m.volumeOf(minor), 1)
}

func (m *Machine) removeMount(mount mountfs.Mount) {
	m.mu.Lock()
	m.mounts = slices.DeleteFunc(m.mounts, func(other mountfs.Mount) bool { return other.ID == mount.ID })
	m.mu.Unlock()
	if err := m.cloud.Disks.mounted(m.volumeOf(mount.Minor), -1); err != nil {
		m.cloud.t.Error(err)
	}
}

// MountXFS implements [Host].
func (m *Machine) MountXFS(d mountfs.Device, target string, _ []string) (mountfs.XFSMount, error) {
	mounts, err := m.Mounts()
	if err != nil {
		return mountfs.XFSMount{}, err
	}
	if mount, ok := mountfs.MountAt(mounts, target); ok && mount.Minor == d.Minor {
		return mountfs.XFSMount{Already: true}, nil
	}
	return mountfs.XFSMount{}, m.add(d.Minor, "/", target)
}

// Grow implements [Host].
func (m *Machine) Grow(_ string, size int64) (before, after int64, err error) { return size, size, nil }

// Bind implements [Host].
func (m *Machine) Bind(mountpoint, dir, target string, _ bool) (already bool, err error) {
	if already, err = m.CheckBind(mountpoint, dir, target); already || err != nil {
		return already, err
	}
	mounts, err := m.Mounts()
	if err != nil {
		return false, err
	}
	from, ok := mountfs.MountAt(mounts, mountpoint)
	if !ok {
		return false, fmt.Errorf("bind: nothing is mounted at %s", mountpoint)
	}
	return false, m.add(from.Minor, "/"+dir, target)
}

// CheckBind implements [Host].
func (m *Machine) CheckBind(mountpoint, dir, target string) (bool, error) {
	mounts, err := m.Mounts()
	if err != nil {
		return false, err
	}
	from, ok := mountfs.MountAt(mounts, mountpoint)
	to, bound := mountfs.MountAt(mounts, target)
	return ok && bound && to.Minor == from.Minor && to.Root == "/"+dir, nil
}

// Unmount implements [Host].
func (m *Machine) Unmount(target string) error {
	mounts, err := m.Mounts()
	if err != nil {
		return err
	}
	mount, ok := mountfs.MountAt(mounts, target)
	if !ok {
		return fmt.Errorf("unmount: nothing is mounted at %s", target)
	}
	m.removeMount(mount)
	return nil
}

// CheckNotFrozen implements [Host].
func (m *Machine) CheckNotFrozen(path string) (err error) {
	m.cloud.Disks.change(m.MountedAt(path), func(k *disk) {
		if k.frozen {
			err = mountfs.ErrBusy
		}
	})
	return err
}

// Remount implements [Host].
func (m *Machine) Remount(string, []string) error { return nil }

// Users implements [Host].
func (m *Machine) Users(context.Context, mountfs.Device) ([]string, error) { return nil, nil }

// Holders implements [Host].
func (m *Machine) Holders(mountfs.Device) ([]string, error) { return nil, nil }

// RecordHotSet implements [Host]: nothing is in the page cache.
func (m *Machine) RecordHotSet(context.Context, string) (hotset.Summary, error) {
	return hotset.Summary{Complete: true, Skipped: "nothing of it is in the page cache"}, nil
}

// Flush implements [Host].
func (m *Machine) Flush(string) error { return nil }

// Freeze implements [Host]: the guard thaws when the limit is over.
func (m *Machine) Freeze(mountpoint string, limit time.Duration, lost func()) (deploy.Frozen, error) {
	volumeID := m.MountedAt(mountpoint)
	if volumeID == "" {
		return nil, fmt.Errorf("freeze: nothing is mounted at %s", mountpoint)
	}
	f := &frozen{disks: m.cloud.Disks, volumeID: volumeID, since: time.Now()}
	taken := false
	f.disks.change(volumeID, func(k *disk) { taken, k.frozen = k.frozen, true })
	if taken {
		return nil, fmt.Errorf("freeze %s: %w", mountpoint, mountfs.ErrBusy)
	}
	f.guard = time.AfterFunc(limit, func() {
		f.end()
		lost()
	})
	return f, nil
}

type frozen struct {
	disks    *Disks
	volumeID string
	since    time.Time
	guard    *time.Timer
}

// end thaws and reports whether it was still frozen.
func (f *frozen) end() (was bool) {
	f.disks.change(f.volumeID, func(k *disk) { was, k.frozen = k.frozen, false })
	return was
}

func (f *frozen) Thaw() (time.Duration, error) {
	f.guard.Stop()
	if !f.end() {
		return time.Since(f.since), mountfs.ErrThawed
	}
	return time.Since(f.since), nil
}
