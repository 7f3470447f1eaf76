package mountfs

import "encoding/binary"

const (
	// prereadMax bounds the reads before a mount, for file systems of thousands of allocation
	// groups.
	prereadMax = 1024
	// prereadGroups is the number of groups whose headers are read; what is left of prereadMax
	// is for the roots of their btrees.
	prereadGroups = 512
	// prereadLog is the number of samples of the log: one for each 512 KiB, or evenly spread
	// over a log of more than 128 MiB.
	prereadLog = 256
)

// prereading collects the reads before a mount: one in each block of EBS.
type prereading struct {
	layout  layout
	size    int64 // of the device, bytes
	touched map[int64]bool
	count   int
}

// add appends the reads for a range, unless its blocks are read already or there are too many.
func (p *prereading) add(reads []Range, r Range) []Range {
	for at := r.Start; at < r.End(); {
		block := at / EBSBlock
		next := min((block+1)*EBSBlock, r.End())
		if !p.touched[block] && p.count < prereadMax {
			p.touched[block] = true
			p.count++
			reads = append(reads, Range{at, next - at})
		}
		at = next
	}
	return reads
}

// first returns the reads that the superblock tells: the inodes of the root directory, and the last
// sector, which XFS reads to check the size (xfs_check_sizes in fs/xfs/xfs_mount.c).
func (p *prereading) first(root uint64) (reads []Range) {
	reads = p.add(reads, p.layout.cluster(root))
	return p.add(reads, Range{p.layout.size() - p.layout.sectorSize, p.layout.sectorSize})
}

// log returns the samples of the log, for their contents: the first sector of each block of EBS, or
// where the kernel's search by halves reads in its first eight steps.
func (p *prereading) log() (samples []Range) {
	log := p.layout.log()
	if log.Length == 0 {
		return nil
	}
	at := log.Start
	sample := func() {
		samples = append(samples, Range{at, min(ReadAlignment, log.End()-at)})
		p.touched[at/EBSBlock] = true
		p.count++
	}
	if log.Length <= prereadLog*EBSBlock {
		for ; at < log.End(); at = (at/EBSBlock + 1) * EBSBlock {
			sample()
		}
		return samples
	}
	for i := range int64(prereadLog) {
		at = log.Start + log.Length/prereadLog*i
		sample()
	}
	at = log.End() - logSector
	sample()
	return samples
}

// logWindow is the most that the kernel reads before the log's head, for the last records, and
// writes after it, to clear what an earlier pass left. (XLOG_TOTAL_REC_SHIFT and
// xlog_clear_stale_blocks in fs/xfs/xfs_log_recover.c: 8 records of 256 KiB)
const logWindow = 2 << 20

// logHead appends the reads of the blocks around the log's head, which lies between two samples
// with different cycle numbers. (xlog_find_head in fs/xfs/xfs_log_recover.c)
func (p *prereading) logHead(reads []Range, samples []Range, contents [][]byte) []Range {
	log := p.layout.log()
	for i := 1; i < len(samples); i++ {
		if logCycle(contents[i-1]) != logCycle(contents[i]) {
			from := max(samples[i-1].Start-logWindow, log.Start)
			to := min(samples[i].Start+logWindow, log.End())
			reads = p.sectors(reads, Range{from, to - from})
		}
	}
	return reads
}

// logSector is the unit of the log's addresses. (BBSIZE)
const logSector = 512

// sectors appends a read of a sector in each block of a range.
func (p *prereading) sectors(reads []Range, r Range) []Range {
	for at := r.Start; at < r.End(); at = (at/EBSBlock + 1) * EBSBlock {
		reads = p.add(reads, Range{at, min(ReadAlignment, r.End()-at)})
	}
	return reads
}

// logRecordMagic begins a record's header; other sectors of the log begin with their cycle number.
// (xlog_get_cycle in fs/xfs/xfs_log_priv.h)
const logRecordMagic = 0xfeedbabe

// logCycle returns the cycle number of a sector of the log; 0 if it was not read.
func logCycle(sector []byte) uint32 {
	if len(sector) < 8 {
		return 0
	}
	if cycle := binary.BigEndian.Uint32(sector); cycle != logRecordMagic {
		return cycle
	}
	return binary.BigEndian.Uint32(sector[4:])
}

// groups returns the headers to read, for their contents: one range for each group.
func (p *prereading) groups() (headers []Range) {
	for group := range min(p.layout.agCount, prereadGroups, int64(prereadMax-p.count)) {
		r := p.layout.headers(group)
		headers = append(headers, r)
		p.count++
		for block := r.Start / EBSBlock; block*EBSBlock < r.End(); block++ {
			p.touched[block] = true
		}
	}
	return headers
}

// Offsets of the roots in AGF and AGI, block numbers within the group: free space by block and by
// size, reverse mappings, reference counts; inodes, free inodes. (struct xfs_agf and xfs_agi in
// fs/xfs/libxfs/xfs_format.h)
const (
	agfMagic = "XAGF"
	agiMagic = "XAGI"
)

var (
	agfRoots = [...]int{16, 20, 24, 88}
	agiRoots = [...]int{20, 328}
)

// roots appends the reads of the btree roots that a group's headers name.
func (p *prereading) roots(reads []Range, group int64, headers []byte) []Range {
	sector := int(p.layout.sectorSize)
	if len(headers) < 3*sector {
		return reads
	}
	read := func(header []byte, magic string, offsets []int) {
		if string(header[:4]) != magic {
			return
		}
		for _, at := range offsets {
			block := int64(binary.BigEndian.Uint32(header[at:]))
			if block > 0 && block < p.layout.agBlocks {
				reads = p.add(reads, p.layout.clip(Range{p.layout.agBlock(group, block), p.layout.blockSize}))
			}
		}
	}
	read(headers[sector:2*sector], agfMagic, agfRoots[:])
	read(headers[2*sector:3*sector], agiMagic, agiRoots[:])
	return reads
}

// newPrereading reads the geometry in the superblock at the start of b, for a device of size bytes.
// root is the number of the root directory's inode. nil: there is no XFS that can be mounted.
func newPrereading(b []byte, size int64) (p *prereading, root uint64) {
	sb, err := ParseSuperblock(b)
	if err != nil {
		return nil, 0
	}
	be := binary.BigEndian
	l := layout{
		blockSize:  int64(sb.BlockSize),
		sectorSize: int64(sb.SectorSize),
		inodeSize:  int64(be.Uint16(b[0x68:])),
		dataBlocks: int64(sb.DataBlocks),
		agBlocks:   int64(sb.AGBlocks),
		agCount:    int64(sb.AGCount),
		logStart:   sb.LogStart,
		logBlocks:  int64(be.Uint32(b[0x60:])),
	}
	if l.inodeSize < 256 || l.inodeSize > l.blockSize || l.inodeSize&(l.inodeSize-1) != 0 || l.size() > size {
		return nil, 0
	}
	// The superblock has been read.
	return &prereading{layout: l, size: size, touched: map[int64]bool{0: true}, count: 1}, be.Uint64(b[0x38:])
}
