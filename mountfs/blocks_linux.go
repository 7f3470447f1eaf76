package mountfs

import (
	"fmt"
	"math"
	"os"
	"unsafe"
)

// XFS_IOC_GETBMAPX lists a file's extents. Unlike FIEMAP it also does so for directories, and
// with BMV_IF_DELALLOC it writes nothing. (fs/xfs/libxfs/xfs_fs.h and xfs_getbmap in
// fs/xfs/xfs_bmap_util.c; the same on amd64 and arm64)
const (
	xfsIOCGetBMapX = 0xc0205838

	bmapInPrealloc = 0x4  // tell unwritten extents
	bmapInDelalloc = 0x8  // tell delayed allocation, and don't write it out first
	bmapInNoHoles  = 0x10 // no records for holes

	bmapPrealloc = 0x1
	bmapDelalloc = 0x2

	bmapUnit = 512 // bytes; offsets, blocks and lengths are in these
)

// bmapRecord is struct getbmapx. The first one of a call holds its arguments.
type bmapRecord struct {
	offset, block, length int64
	count, entries        int32
	inFlags, outFlags     int32
	_                     [2]int32
}

// bmapRecords is the number of records of one call, with the first.
const bmapRecords = 129

// BlockRanges returns where ranges of an XFS file or directory lie on the device, in the order of
// the file; nil means the whole of it, for a directory also its leaf blocks and free-space index.
// The ranges are sorted and disjoint. Holes, unwritten extents and delayed allocation have no
// range. It writes nothing, and works on a frozen file system.
func BlockRanges(f *os.File, of []Range) ([]Range, error) {
	if of == nil {
		of = []Range{{0, math.MaxInt64 &^ (bmapUnit - 1)}}
	}
	if len(of) == 0 {
		return nil, nil
	}
	var blocks []Range
	err := fileExtents(f, Range{of[0].Start, of[len(of)-1].End() - of[0].Start}, func(file Range, device int64) {
		for len(of) > 0 && of[0].End() <= file.Start {
			of = of[1:]
		}
		for _, r := range of {
			from, to := max(file.Start, r.Start), min(file.End(), r.End())
			if from >= to {
				return
			}
			blocks = appendRange(blocks, Range{device + from - file.Start, to - from})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("blocks of %s: %w", f.Name(), err)
	}
	return blocks, nil
}

// fileExtents calls do for each written extent in a range of the file, in order: with the part of
// the file, which may reach beyond the range, and its address on the device.
func fileExtents(f *os.File, r Range, do func(file Range, device int64)) error {
	if r.Length <= 0 {
		return nil
	}
	var call [bmapRecords]bmapRecord
	first := r.Start &^ (bmapUnit - 1)
	call[0] = bmapRecord{
		offset: first / bmapUnit, length: (r.End()-first-1)/bmapUnit + 1, count: bmapRecords,
		inFlags: bmapInPrealloc | bmapInDelalloc | bmapInNoHoles,
	}
	for call[0].length > 0 {
		if err := ioctl(f, xfsIOCGetBMapX, unsafe.Pointer(&call)); err != nil {
			return fmt.Errorf("XFS_IOC_GETBMAPX: %w", err)
		}
		n := min(call[0].entries, bmapRecords-1)
		if n <= 0 {
			return nil
		}
		for _, e := range call[1 : n+1] {
			// A block below zero is a hole or delayed allocation, 0 the superblock.
			if e.outFlags&(bmapPrealloc|bmapDelalloc) == 0 && e.block > 0 {
				do(Range{e.offset * bmapUnit, e.length * bmapUnit}, e.block*bmapUnit)
			}
		}
	}
	return nil
}

// Inodes finds inodes on the device.
type Inodes struct{ layout layout }

// InodesOf returns the Inodes of the mounted XFS that holds f.
func InodesOf(f *os.File) (Inodes, error) {
	l, err := layoutOf(f)
	return Inodes{l}, err
}

// Range returns the cluster of inodes that XFS reads to read the inode with this number: 16 KiB
// with inodes of 512 bytes.
func (i Inodes) Range(number uint64) Range { return i.layout.cluster(number) }
