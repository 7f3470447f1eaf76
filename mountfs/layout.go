package mountfs

import "math/bits"

// layout is the geometry by which XFS turns its block and inode numbers into addresses.
// (XFS_FSB_TO_DADDR, XFS_INO_TO_AGNO, XFS_INO_TO_AGBNO in the kernel's
// fs/xfs/libxfs/xfs_format.h)
type layout struct {
	blockSize  int64 // bytes
	sectorSize int64 // bytes
	inodeSize  int64 // bytes
	dataBlocks int64
	agBlocks   int64 // blocks in each allocation group but the last
	agCount    int64
	logStart   uint64 // block number, 0 if the log is on another device
	logBlocks  int64
}

// size returns the size of the file system in bytes.
func (l layout) size() int64 { return l.dataBlocks * l.blockSize }

// agShift is the number of bits of a block number within its allocation group
// (sb_agblklog).
func (l layout) agShift() int { return bits.Len64(uint64(l.agBlocks - 1)) }

// block returns the address of a block by its number, which consists of a group and a block
// within it.
func (l layout) block(number uint64) int64 {
	group := int64(number >> l.agShift())
	return l.agBlock(group, int64(number&(1<<l.agShift()-1)))
}

// agBlock returns the address of a block of an allocation group.
func (l layout) agBlock(group, block int64) int64 { return (group*l.agBlocks + block) * l.blockSize }

// inodes returns the range of n inodes from number on, in whole blocks.
func (l layout) inodes(number uint64, n int64) Range {
	perBlock := bits.TrailingZeros64(uint64(l.blockSize / l.inodeSize)) // sb_inopblog
	return l.clip(Range{l.block(number >> perBlock), max(n*l.inodeSize, l.blockSize)})
}

const (
	// inodeChunk is the number of inodes that XFS allocates together. (XFS_INODES_PER_CHUNK)
	inodeChunk = 64
	// inodeCluster is the number of inodes that XFS reads together: 8 KiB for each 256 bytes of
	// the inode size. (xfs_ialloc_setup_geometry in fs/xfs/libxfs/xfs_ialloc.c)
	inodeCluster = 32
)

// cluster returns the inodes that XFS reads to read one inode. Clusters are aligned within
// their group. (xfs_imap in fs/xfs/libxfs/xfs_ialloc.c)
func (l layout) cluster(inode uint64) Range {
	return l.inodes(inode&^(inodeCluster-1), inodeCluster)
}

// headers returns the sectors at the start of a group: superblock, AGF, AGI and AGFL.
// (XFS_SB_DADDR, XFS_AGF_DADDR, XFS_AGI_DADDR, XFS_AGFL_DADDR)
func (l layout) headers(group int64) Range {
	return l.clip(Range{l.agBlock(group, 0), 4 * l.sectorSize})
}

// log returns the range of the internal log, empty if there is none.
func (l layout) log() Range {
	if l.logStart == 0 {
		return Range{}
	}
	return l.clip(Range{l.block(l.logStart), l.logBlocks * l.blockSize})
}

// clip cuts a range off at the end of the file system.
func (l layout) clip(r Range) Range {
	if r.Start < 0 || r.Start >= l.size() {
		return Range{}
	}
	return Range{r.Start, min(r.Length, l.size()-r.Start)}
}
