package agent

import (
	"context"

	"snapsource/agent/deploy"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/mountfs"
)

// NewHost returns the host that this process runs on, with its lock and records in dir; see
// [record.RunDir].
func NewHost(dir record.Dir) Host { return Host{kernel{}, kernel{}, kernel{}, dir, dir} }

// kernel implements [Devices], [Mounter] and [Mounted] by mountfs.
type kernel struct{}

func (kernel) Mounts() ([]mountfs.Mount, error)               { return mountfs.Mounts() }
func (kernel) Find(v mountfs.Volume) (mountfs.Device, error)  { return mountfs.Find(v) }
func (kernel) VolumeDevices() ([]mountfs.VolumeDevice, error) { return mountfs.VolumeDevices() }
func (kernel) MkfsPath() (string, error)                      { return mountfs.MkfsPath() }
func (kernel) Watch(v mountfs.Volume) (Watch, error)          { return mountfs.NewWaiter(v), nil }
func (kernel) Holders(d mountfs.Device) ([]string, error)     { return mountfs.Holders(d) }
func (kernel) Unmount(target string) error                    { return failure.NotRoot(mountfs.Unmount(target)) }
func (kernel) CheckNotFrozen(path string) error {
	return mountfs.CheckNotFrozen(path, deploy.DefaultFreezeTimeout)
}

func (kernel) InspectTarget(path string) (mountfs.Target, error) {
	t, err := mountfs.InspectTarget(path)
	return t, failure.NotRoot(err)
}

func (kernel) CheckOptions(options []string) error { return mountfs.CheckKnown(options) }

func (kernel) Revision(dir string) string { return deploy.Revision(dir) }

func (kernel) Remount(target string, options []string) error {
	return failure.NotRoot(mountfs.Remount(target, options))
}

func (kernel) OpenDisk(d mountfs.Device) (Disk, error) {
	disk, err := mountfs.OpenDisk(d)
	if err != nil {
		return nil, failure.NotRoot(err) // not disk: a nil pointer in an interface is not nil
	}
	return disk, nil
}

func (kernel) MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error) {
	m, err := mountfs.MountXFS(d, target, options)
	return m, failure.NotRoot(err)
}

func (kernel) Grow(mountpoint string, deviceSize int64) (before, after int64, err error) {
	return mountfs.Grow(mountpoint, deviceSize)
}

func (kernel) Bind(mountpoint, dir, target string, create bool) (bool, error) {
	return mountfs.Bind(mountpoint, dir, target, create)
}

func (kernel) CheckBind(mountpoint, dir, target string) (bool, error) {
	return mountfs.CheckBind(mountpoint, dir, target)
}

func (kernel) Users(ctx context.Context, d mountfs.Device) ([]string, error) {
	return mountfs.Users(ctx, d)
}
