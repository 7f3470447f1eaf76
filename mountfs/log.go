package mountfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

// LogState is whether the kernel has to replay an XFS's log at its next mount.
type LogState int

// The states of a log.
const (
	LogUnknown LogState = iota // none that we understand; the kernel decides at mount
	LogClean                   // unmounted, or never mounted
	LogDirty                   // a crash, a freeze, or a snapshot of it mounted: replayed at mount
)

// String names the state.
func (s LogState) String() string {
	switch s {
	case LogUnknown:
		return "unknown"
	case LogClean:
		return "clean"
	case LogDirty:
		return "dirty"
	}
	return fmt.Sprintf("LogState(%d)", int(s))
}

// The log on disk, from the kernel's fs/xfs/libxfs/xfs_log_format.h; numbers are
// big-endian. It is a ring of records in blocks of 512 bytes. Each record begins
// with a header, and each block with the number of the cycle in which it was
// written, a header's after its magic number.
const (
	logBlock        = 512
	logMagic        = 0xfeedbabe
	logVersion2     = 2
	logHeaderCycles = 32 << 10 // bytes of a record that one block of header describes
	// logRecordMax is XLOG_MAX_RECORD_BSIZE and its headers, in blocks.
	logRecordMax = (256<<10 + 8*logBlock) / logBlock
	// unmountFlag is XLOG_UNMOUNT_TRANS, in the first operation of a record.
	unmountFlag = 0x20
)

// xfsLog is the log of an XFS.
type xfsLog struct {
	r      io.ReaderAt
	start  int64 // bytes
	blocks int64
	uuid   string
}

// readLog tells the state of an XFS's log. It looks for the head, where the
// newest record ends, by halves, at the blocks that the kernel reads first at
// mount too (fs/xfs/xfs_log_recover.c, xlog_find_head): on a volume that loads
// lazily they need be loaded only once. A log is clean when its newest record says
// that the file system was unmounted. Such a record is written alone, after all
// others are on the disk, so the gaps of a crash can't lie before it.
func readLog(r io.ReaderAt, sb Superblock) (LogState, error) {
	l, ok := sb.log(r)
	if !ok {
		return LogUnknown, nil
	}
	head, wraps, err := l.head()
	if err != nil || head == 0 {
		return LogUnknown, err
	}
	// An unmount record is two blocks, padded to the log's stripe unit; records of
	// a log in use have 32 KiB, unless a mount option says otherwise.
	for _, n := range []int64{8, 72, logRecordMax} {
		if !wraps {
			n = min(n, head)
		}
		window, err := l.before(head, min(n, l.blocks))
		if err != nil {
			return LogUnknown, err
		}
		if record := lastRecord(window); record != nil {
			return record.state(l.uuid), nil
		}
	}
	return LogUnknown, nil
}

// log finds the log; ok is false when it lies on another device, or nowhere.
func (sb Superblock) log(r io.ReaderAt) (l xfsLog, ok bool) {
	group, block := sb.LogStart>>sb.agLog, sb.LogStart&(1<<sb.agLog-1)
	if sb.LogStart == 0 || sb.LogBlocks == 0 || group >= uint64(sb.AGCount) || block+uint64(sb.LogBlocks) > uint64(sb.AGBlocks) {
		return xfsLog{}, false
	}
	return xfsLog{
		r:      r,
		start:  int64(group*uint64(sb.AGBlocks)+block) * int64(sb.BlockSize),
		blocks: int64(sb.LogBlocks) * int64(sb.BlockSize) / logBlock,
		uuid:   sb.UUID,
	}, true
}

// head gives the block after the newest one; 0 when the log makes no sense. wraps
// tells that the blocks before the first are the last, of the cycle before.
func (l xfsLog) head() (head int64, wraps bool, err error) {
	first, err := l.cycle(0)
	if err != nil {
		return 0, false, err
	}
	last, err := l.cycle(l.blocks - 1)
	switch {
	case err != nil:
		return 0, false, err
	case first == 0:
		return 0, false, nil
	case first == last:
		return l.blocks, true, nil // full to its very end
	case last != 0 && last != first-1: // 0: not written yet
		return 0, false, nil
	}
	low, high := int64(0), l.blocks-1
	for high-low > 1 {
		mid := (low + high) / 2
		c, err := l.cycle(mid)
		if err != nil {
			return 0, false, err
		}
		if c == last {
			high = mid
		} else {
			low = mid
		}
	}
	return high, last != 0, nil
}

// cycle reads in which cycle a block was written.
func (l xfsLog) cycle(block int64) (uint32, error) {
	var b [8]byte
	if err := readFull(l.r, b[:], l.start+block*logBlock); err != nil {
		return 0, err
	}
	if c := binary.BigEndian.Uint32(b[:]); c != logMagic {
		return c, nil
	}
	return binary.BigEndian.Uint32(b[4:]), nil
}

// before reads the n blocks before the head, around the log's start if need be.
func (l xfsLog) before(head, n int64) ([]byte, error) {
	b := make([]byte, n*logBlock)
	around := max(0, n-head) * logBlock
	if around > 0 {
		if err := readFull(l.r, b[:around], l.start+l.blocks*logBlock-around); err != nil {
			return nil, err
		}
	}
	return b, readFull(l.r, b[around:], l.start+(head-n)*logBlock+around)
}

// logRecord is a record from its header to the head of the log.
type logRecord []byte

// lastRecord finds the last header in the blocks before the head.
func lastRecord(window []byte) logRecord {
	for off := len(window) - logBlock; off >= 0; off -= logBlock {
		if binary.BigEndian.Uint32(window[off:]) == logMagic {
			return window[off:]
		}
	}
	return nil
}

func (r logRecord) state(uuid string) LogState {
	be := binary.BigEndian
	version, length, operations, size := be.Uint32(r[8:]), be.Uint32(r[12:]), be.Uint32(r[40:]), be.Uint32(r[320:])
	if formatUUID(r[304:320]) != uuid {
		return LogUnknown
	}
	headers := int64(1)
	if version&logVersion2 != 0 && size > logHeaderCycles {
		headers = (int64(size) + logHeaderCycles - 1) / logHeaderCycles
	}
	data := headers * logBlock
	whole := int64(len(r)) == data+(int64(length)+logBlock-1)/logBlock*logBlock
	// An operation is an id of 4 bytes, a length of 4, who wrote it, and flags.
	if whole && operations == 1 && length > 0 && r[data+9]&unmountFlag != 0 {
		return LogClean
	}
	return LogDirty
}
