package mountfs

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FS_IOC_GETFSMAP lists the extents of a file system's devices. Numbers and structs are those
// of the kernel's include/uapi/linux/fsmap.h; the same on amd64 and arm64.
const (
	fsIOCGetFSMap = 0xc0c0583b

	fsmapDevT         = 0x1 // FMH_OF_DEV_T: fmr_device is a dev_t
	fsmapSpecialOwner = 0x10
	fsmapLast         = 0x20

	ownerFree    = 0<<32 | 1
	ownerUnknown = 0<<32 | 2
	// Owners of XFS: static metadata, log, per-group metadata, inode btrees, inodes, reference
	// counts. (XFS_FMR_OWN_* in fs/xfs/libxfs/xfs_fs.h)
	ownerFS     = 'X'<<32 | 1
	ownerLog    = 'X'<<32 | 2
	ownerAG     = 'X'<<32 | 3
	ownerInobt  = 'X'<<32 | 4
	ownerInodes = 'X'<<32 | 5
	ownerRefc   = 'X'<<32 | 6

	// fsmapDeviceData is XFS_DEV_DATA: fmr_device of the data device where it is no dev_t,
	// on file systems with an internal realtime section. (fs/xfs/libxfs/xfs_fs.h, Linux 6.15)
	fsmapDeviceData = 1

	fsmapFlagMap = 0x4 // FMR_OF_EXTENT_MAP: a btree of a file's extents
)

// fsmapRecord is struct fsmap: an extent of a device, in bytes.
type fsmapRecord struct {
	device, flags                   uint32
	physical, owner, offset, length uint64
	_                               [3]uint64
}

// fsmapRecords is the number of records of one call: 64 KiB of them.
const fsmapRecords = 1024

// fsmapCall is struct fsmap_head with its records.
type fsmapCall struct {
	inFlags, outFlags uint32
	count, entries    uint32
	_                 [6]uint64
	low, high         fsmapRecord
	records           [fsmapRecords]fsmapRecord
}

// errNoProgress means that the kernel gave the record that it was to continue from.
var errNoProgress = errors.New("FS_IOC_GETFSMAP does not advance")

// dataExtents calls do for each extent of the device that holds the file system of dir. An
// extent that several files share comes once for each of them.
func dataExtents(dir *os.File, do func(fsmapRecord)) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	// The lower 32 bits of a dev_t, as in new_encode_dev (include/linux/kdev_t.h).
	device := uint32(st.Dev)
	call := &fsmapCall{count: fsmapRecords}
	const most = ^uint64(0)
	call.high = fsmapRecord{device: ^uint32(0), flags: ^uint32(0), physical: most, owner: most, offset: most}
	for {
		if err := ioctl(dir, fsIOCGetFSMap, unsafe.Pointer(call)); err != nil {
			return fmt.Errorf("FS_IOC_GETFSMAP: %w", err)
		}
		if call.outFlags&fsmapDevT == 0 {
			device = fsmapDeviceData
		}
		n := min(call.entries, fsmapRecords)
		for _, r := range call.records[:n] {
			if r.device == device {
				do(r)
			}
		}
		if n == 0 || call.records[n-1].flags&fsmapLast != 0 {
			return nil
		}
		// The kernel continues after the low key if that has a length. Its flags and owner
		// decide whether the same blocks may have a further owner.
		last := call.records[n-1]
		if last == call.low {
			return errNoProgress
		}
		call.low = last
	}
}
