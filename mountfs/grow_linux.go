package mountfs

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// XFS's own ioctls, from the kernel's fs/xfs/libxfs/xfs_fs.h; the same numbers
// on amd64 and arm64.
const (
	xfsIOCFSGeometry   = 0x8100587e // 256 bytes out
	xfsIOCFSGrowFSData = 0x4010586e // 16 bytes in
)

// growFSData is struct xfs_growfs_data.
type growFSData struct {
	newBlocks uint64
	imaxPct   uint32
	_         uint32
}

// Geometry returns the geometry of the XFS mounted at mountpoint.
func Geometry(mountpoint string) (XFSGeometry, error) {
	dir, err := openDir(mountpoint)
	if err != nil {
		return XFSGeometry{}, err
	}
	defer dir.Close()
	return geometry(dir)
}

func geometry(dir *os.File) (XFSGeometry, error) {
	b, err := rawGeometry(dir)
	if err != nil {
		return XFSGeometry{}, err
	}
	native := binary.NativeEndian
	return XFSGeometry{
		BlockSize:  native.Uint32(b[0:]),
		ImaxPct:    native.Uint32(b[28:]),
		DataBlocks: native.Uint64(b[32:]),
		UUID:       formatUUID(b[64:80]),
	}, nil
}

// rawGeometry returns a struct xfs_fsop_geom.
func rawGeometry(dir *os.File) (b [256]byte, err error) {
	if err := ioctl(dir, xfsIOCFSGeometry, unsafe.Pointer(&b)); err != nil {
		return b, fmt.Errorf("XFS geometry of %s: %w", dir.Name(), err)
	}
	return b, nil
}

// Grow grows the XFS at mountpoint to a device of deviceSize bytes, and returns its size in
// bytes before and after. It never shrinks: with a smaller number the same ioctl does (seen
// on Linux 6.18). A remainder smaller than the smallest allocation group, 64 blocks, stays
// unused. A read-only mount stays as it is.
func Grow(mountpoint string, deviceSize int64) (before, after int64, err error) {
	dir, err := openDir(mountpoint)
	if err != nil {
		return 0, 0, fmt.Errorf("grow %s: %w", mountpoint, err)
	}
	defer dir.Close()
	g, err := geometry(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("grow %s: %w", mountpoint, err)
	}
	if !NeedsGrow(Superblock{BlockSize: g.BlockSize, DataBlocks: g.DataBlocks}, deviceSize) {
		return g.Size(), g.Size(), nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return g.Size(), g.Size(), fmt.Errorf("grow %s: %w", mountpoint, err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return g.Size(), g.Size(), nil
	}
	want := growFSData{newBlocks: uint64(deviceSize) / uint64(g.BlockSize), imaxPct: g.ImaxPct}
	if err := ioctl(dir, xfsIOCFSGrowFSData, unsafe.Pointer(&want)); err != nil {
		return g.Size(), g.Size(), fmt.Errorf("grow %s from %d to %d blocks: %w", mountpoint, g.DataBlocks, want.newBlocks, err)
	}
	grown, err := geometry(dir)
	if err != nil {
		return g.Size(), g.Size(), err
	}
	if grown.DataBlocks <= g.DataBlocks {
		return g.Size(), grown.Size(), fmt.Errorf("grow %s: the kernel reported success, but it still has %d blocks", mountpoint, grown.DataBlocks)
	}
	return g.Size(), grown.Size(), nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}
