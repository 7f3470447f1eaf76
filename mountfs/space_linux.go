package mountfs

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"
)

// SpaceInUse returns the space of the device that the XFS mounted at mountpoint uses. It needs
// root: without CAP_SYS_ADMIN the kernel hides who owns the space. It reads the free-space
// btrees, or with rmapbt=1 the reverse mappings, of the whole file system, and works on a frozen
// or read-only one too. Space with delayed allocation has no blocks yet: call [Flush] first.
//
// While files are written the result is a mixture of moments: XFS locks one allocation group
// at a time.
func SpaceInUse(mountpoint string) (Space, error) {
	s, err := spaceInUse(mountpoint)
	if err != nil {
		return Space{}, fmt.Errorf("space in use at %s: %w", mountpoint, err)
	}
	return s, nil
}

func spaceInUse(mountpoint string) (Space, error) {
	dir, err := openDir(mountpoint)
	if err != nil {
		return Space{}, err
	}
	defer dir.Close()
	l, err := layoutOf(dir)
	if err != nil {
		return Space{}, err
	}
	var metadata, log, data, unknown []Range
	err = dataExtents(dir, func(r fsmapRecord) {
		at := Range{int64(r.physical), int64(r.length)}
		switch kind := classifyExtent(r); kind {
		case extentMetadata:
			metadata = appendRange(metadata, at)
		case extentLog:
			log = appendRange(log, at)
		case extentData:
			data = appendRange(data, at)
		case extentUnknown:
			unknown = appendRange(unknown, at)
		}
	})
	if err != nil {
		return Space{}, err
	}
	if len(unknown) > 0 {
		// No reverse mappings.
		unknown = MergeRanges(unknown)
		known, err := l.knownMetadata(dir)
		if err != nil {
			return Space{}, err
		}
		metadata = append(metadata, intersectRanges(known, unknown)...)
		log = append(log, intersectRanges(MergeRanges([]Range{l.log()}), unknown)...)
		data = append(data, unknown...)
	}
	s := Space{Log: MergeRanges(log)}
	s.Metadata = SubtractRanges(MergeRanges(metadata), s.Log)
	s.Data = SubtractRanges(SubtractRanges(MergeRanges(data), s.Log), s.Metadata)
	return s, nil
}

// The kinds of extents.
const (
	extentFree = iota
	extentMetadata
	extentLog
	extentData
	extentUnknown
)

func classifyExtent(r fsmapRecord) int {
	if r.flags&fsmapSpecialOwner == 0 {
		if r.flags&fsmapFlagMap != 0 {
			return extentMetadata
		}
		return extentData
	}
	switch r.owner {
	case ownerFree:
		return extentFree
	case ownerUnknown:
		return extentUnknown
	case ownerLog:
		return extentLog
	case ownerFS, ownerAG, ownerInobt, ownerInodes, ownerRefc:
		return extentMetadata
	}
	return extentData // copy-on-write staging, or an owner of newer kernels
}

// knownMetadata returns the metadata whose place is known without reverse mappings, merged.
func (l layout) knownMetadata(dir *os.File) ([]Range, error) {
	var known []Range
	for group := range l.agCount {
		// In whole blocks, as XFS allocates them. (XFS_PREALLOC_BLOCKS)
		r := l.headers(group)
		r.Length = (r.Length + l.blockSize - 1) / l.blockSize * l.blockSize
		known = append(known, l.clip(r))
	}
	err := inodeChunks(dir, func(first uint64) { known = append(known, l.inodes(first, inodeChunk)) })
	return MergeRanges(known), err
}

// layoutOf returns the layout of the mounted XFS that holds dir.
func layoutOf(dir *os.File) (layout, error) {
	b, err := rawGeometry(dir)
	if err != nil {
		return layout{}, err
	}
	native := binary.NativeEndian
	number := func(at int) int64 { return int64(native.Uint32(b[at:])) }
	l := layout{
		blockSize:  number(0),
		agBlocks:   number(8),
		agCount:    number(12),
		logBlocks:  number(16),
		sectorSize: number(20),
		inodeSize:  number(24),
		dataBlocks: int64(native.Uint64(b[32:])),
		logStart:   native.Uint64(b[56:]),
	}
	if l.blockSize <= 0 || l.inodeSize <= 0 || l.agBlocks <= 0 || l.inodeSize > l.blockSize {
		return layout{}, fmt.Errorf("XFS geometry of %s: blocks of %d bytes, inodes of %d, groups of %d blocks", dir.Name(), l.blockSize, l.inodeSize, l.agBlocks)
	}
	return l, nil
}

// XFS_IOC_INUMBERS lists the chunks of inodes. (struct xfs_inumbers_req in the kernel's
// fs/xfs/libxfs/xfs_fs.h, Linux 5.3; the same on amd64 and arm64)
const xfsIOCInumbers = 0x80405880

// inumbers is struct xfs_inumbers_req: a struct xfs_bulk_ireq and its records.
type inumbers struct {
	next        uint64 // where the kernel continues
	flags, want uint32
	got, group  uint32
	_           [5]uint64
	chunks      [1024]struct{ first, used, rest uint64 }
}

// inodeChunks calls do for the number of the first inode of each chunk. A sparse chunk may lack
// some of its blocks.
func inodeChunks(dir *os.File, do func(first uint64)) error {
	call := inumbers{}
	call.want = uint32(len(call.chunks))
	for {
		if err := ioctl(dir, xfsIOCInumbers, unsafe.Pointer(&call)); err != nil {
			return fmt.Errorf("XFS_IOC_INUMBERS: %w", err)
		}
		n := min(int(call.got), len(call.chunks))
		if n == 0 {
			return nil
		}
		for _, c := range call.chunks[:n] {
			do(c.first)
		}
	}
}
