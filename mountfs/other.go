//go:build !linux

package mountfs

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Host is the location of sysfs and /dev.
type Host struct {
	Sys string
	Dev string
}

// Disk is an open and locked device.
type Disk struct{}

// Waiter waits for a volume's device.
type Waiter struct{}

func unsupported(what string) error { return fmt.Errorf("%w: %s", ErrUnsupported, what) }

func errnoMeaning(string, error) string { return "" }

func errnoKind(string, error) error { return nil }

// Find needs Linux.
func Find(Volume) (Device, error) { return Device{}, unsupported("find a device") }

// Find needs Linux.
func (Host) Find(Volume) (Device, error) { return Device{}, unsupported("find a device") }

// VolumeDevices needs Linux.
func VolumeDevices() ([]VolumeDevice, error) { return nil, unsupported("list the devices of volumes") }

// VolumeDevices needs Linux.
func (Host) VolumeDevices() ([]VolumeDevice, error) {
	return nil, unsupported("list the devices of volumes")
}

// NewWaiter returns a Waiter whose Wait needs Linux.
func NewWaiter(Volume) *Waiter { return &Waiter{} }

// Wait needs Linux.
func (*Waiter) Wait(context.Context) (Device, error) {
	return Device{}, unsupported("wait for a device")
}

// Close does nothing.
func (*Waiter) Close() error { return nil }

// Wait needs Linux.
func Wait(context.Context, Volume) (Device, error) {
	return Device{}, unsupported("wait for a device")
}

// CheckKnown checks nothing.
func CheckKnown([]string) error { return nil }

// Remount needs Linux.
func Remount(string, []string) error { return unsupported("remount") }

// OpenDisk needs Linux.
func OpenDisk(Device) (*Disk, error) { return nil, unsupported("open a device") }

// Probe needs Linux.
func (*Disk) Probe(string) (Contents, error) { return Contents{}, unsupported("probe a device") }

// Format needs Linux.
func (*Disk) Format(context.Context, Format) error { return unsupported("format a device") }

// Close does nothing.
func (*Disk) Close() error { return nil }

// MkfsPath needs Linux.
func MkfsPath() (string, error) { return "", unsupported("mkfs.xfs") }

// Mounts needs Linux.
func Mounts() ([]Mount, error) { return nil, unsupported("list mounts") }

// InspectTarget needs Linux.
func InspectTarget(path string) (Target, error) {
	return Target{Path: path}, unsupported("inspect a mountpoint")
}

// MountXFS needs Linux.
func MountXFS(Device, string, []string) (XFSMount, error) {
	return XFSMount{}, unsupported("mount")
}

// Unmount needs Linux.
func Unmount(string) error { return unsupported("unmount") }

// Bind needs Linux.
func Bind(string, string, string, bool) (bool, error) { return false, unsupported("bind") }

// CheckBind needs Linux.
func CheckBind(string, string, string) (bool, error) { return false, unsupported("check a bind") }

// SameFile needs Linux.
func SameFile(string, string) (bool, error) { return false, unsupported("compare files") }

// Geometry needs Linux.
func Geometry(string) (XFSGeometry, error) { return XFSGeometry{}, unsupported("XFS geometry") }

// Grow needs Linux.
func Grow(string, int64) (before, after int64, err error) {
	return 0, 0, unsupported("grow a file system")
}

// Frozen is a frozen file system.
type Frozen struct{}

// CheckNotFrozen needs Linux.
func CheckNotFrozen(string, time.Duration) error { return unsupported("freeze a file system") }

// Users needs Linux.
func Users(context.Context, Device) ([]string, error) {
	return nil, unsupported("list the users of a device")
}

// Holders needs Linux.
func Holders(Device) ([]string, error) { return nil, unsupported("list the users of a device") }

// Flush needs Linux.
func Flush(string) error { return unsupported("flush a file system") }

// Freeze needs Linux.
func Freeze(string, time.Duration, func()) (*Frozen, error) {
	return nil, unsupported("freeze a file system")
}

// Thaw needs Linux.
func (*Frozen) Thaw() (time.Duration, error) { return 0, unsupported("thaw a file system") }

// RunGuard does nothing: no process is started as a guard.
func RunGuard() {}

// Lock needs Linux.
func Lock(context.Context, string, func()) (unlock func() error, err error) {
	return nil, unsupported("lock")
}

// Below reads files below a directory.
type Below struct{}

// OpenBelow needs Linux.
func OpenBelow(string) (*Below, error) { return nil, unsupported("open a directory") }

// ReadFile needs Linux.
func (*Below) ReadFile(string, int64) ([]byte, error) { return nil, unsupported("read a file") }

// Close does nothing.
func (*Below) Close() error { return nil }

// SpaceInUse needs Linux.
func SpaceInUse(string) (Space, error) { return Space{}, unsupported("list the space in use") }

// CachedRanges needs Linux.
func CachedRanges(context.Context, *os.File, int64) ([]Range, error) {
	return nil, unsupported("query the page cache")
}

// BlockRanges needs Linux.
func BlockRanges(*os.File, []Range) ([]Range, error) {
	return nil, unsupported("list the blocks of a file")
}

// Inodes finds inodes on the device.
type Inodes struct{}

// InodesOf needs Linux.
func InodesOf(*os.File) (Inodes, error) { return Inodes{}, unsupported("find inodes") }

// Range returns nothing.
func (Inodes) Range(uint64) Range { return Range{} }

// Preread needs Linux.
func Preread(context.Context, Device) error { return unsupported("read ahead of a mount") }

// ReadCached needs Linux.
func (*Below) ReadCached(string, uint64, []byte, int64) (int, error) {
	return 0, unsupported("read a file")
}

// Claim is a lock of one process on a file.
type Claim struct{}

// TakeClaim needs Linux.
func TakeClaim(string) (*Claim, error) { return nil, unsupported("lock") }

// Release does nothing.
func (*Claim) Release() error { return nil }

// Claimant needs Linux.
func Claimant(string) (pid int, err error) { return 0, unsupported("find who has a lock") }

// EndClaimant needs Linux.
func EndClaimant(context.Context, string) error { return unsupported("end who has a lock") }

// Reader reads a device.
type Reader struct{}

// OpenReader needs Linux.
func OpenReader(Device) (*Reader, error) { return nil, unsupported("open a device") }

// ReadAt needs Linux.
func (*Reader) ReadAt([]byte, int64) (int, error) { return 0, unsupported("read a device") }

// Activity needs Linux.
func (*Reader) Activity() (reads, bytes int64, err error) {
	return 0, 0, unsupported("read a device's statistics")
}

// Close does nothing.
func (*Reader) Close() error { return nil }

// ReadBuffer returns memory.
func ReadBuffer(size int) (b []byte, free func(), err error) {
	return make([]byte, size), func() {}, nil
}

// LowerIOPriority needs Linux.
func LowerIOPriority(bool) error { return unsupported("lower the I/O priority") }
