package mountfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// Superblock is the part of an XFS superblock that our decisions need. Offsets and rules
// are those of the kernel's fs/xfs/libxfs/xfs_format.h and xfs_sb.c.
type Superblock struct {
	UUID, Label string
	BlockSize   uint32 // bytes
	DataBlocks  uint64
	AGBlocks    uint32 // blocks in each allocation group but the last
	AGCount     uint32
	SectorSize  uint16 // bytes
	Version     int    // 4, or 5 with checksums
	InProgress  bool   // mkfs has not finished
	LogStart    uint64 // block number of the log, 0 if it is on another device
	RTBlocks    uint64 // of the realtime volume, which is on another device
	Features    Features

	agLog byte // bits of a block number within its allocation group
}

// Features are the feature bits of version 5. A kernel that does not know a bit of Incompat
// does not mount the file system; with an unknown bit of ROCompat it mounts it only
// read-only.
type Features struct {
	ROCompat, Incompat, LogIncompat uint32
}

// needsRepair is XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR, set by an interrupted xfs_repair.
const needsRepair = 1 << 4

// Size returns the size of the file system in bytes.
func (sb Superblock) Size() int64 { return int64(sb.DataBlocks) * int64(sb.BlockSize) }

// Errors of ParseSuperblock.
var (
	errNoMagic  = errors.New("no XFS superblock")
	errShort    = errors.New("XFS superblock cut short")
	errGeometry = errors.New("XFS, superblock geometry impossible")
	errChecksum = errors.New("XFS, superblock checksum wrong")
	errVersion  = errors.New("XFS, superblock version unknown")
)

const (
	superblockMagic = "XFSB"
	// superblockBytes is the length of version 5; the rest of the sector is zero.
	superblockBytes = 264
	// sectorMax is XFS_MAX_SECTORSIZE: the checksum covers a whole sector.
	sectorMax = 32 << 10
	// minAGBlocks is XFS_MIN_AG_BLOCKS: growing by less changes nothing.
	minAGBlocks = 64
	crcOffset   = 0xe0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseSuperblock parses the XFS superblock at the start of b, which must contain the whole
// sector (32 KiB always does). It checks the magic number, that the geometry is possible,
// and in version 5 the CRC32C.
func ParseSuperblock(b []byte) (Superblock, error) {
	if len(b) < len(superblockMagic) || string(b[:4]) != superblockMagic {
		return Superblock{}, errNoMagic
	}
	if len(b) < superblockBytes {
		return Superblock{}, errShort
	}
	be := binary.BigEndian
	sb := Superblock{
		UUID:       formatUUID(b[0x20:0x30]),
		Label:      string(bytes.TrimRight(b[0x6c:0x78], "\x00")),
		BlockSize:  be.Uint32(b[0x04:]),
		DataBlocks: be.Uint64(b[0x08:]),
		AGBlocks:   be.Uint32(b[0x54:]),
		AGCount:    be.Uint32(b[0x58:]),
		SectorSize: be.Uint16(b[0x66:]),
		Version:    int(be.Uint16(b[0x64:]) & 0xf),
		InProgress: b[0x7e] != 0,
		LogStart:   be.Uint64(b[0x30:]),
		RTBlocks:   be.Uint64(b[0x10:]),
		agLog:      b[0x7c],
	}
	if sb.Version != 4 && sb.Version != 5 {
		return Superblock{}, fmt.Errorf("%w: %d", errVersion, sb.Version)
	}
	if err := sb.checkGeometry(b[0x78], b[0x79]); err != nil {
		return Superblock{}, err
	}
	if sb.Version == 5 {
		sb.Features = Features{ROCompat: be.Uint32(b[0xd4:]), Incompat: be.Uint32(b[0xd8:]), LogIncompat: be.Uint32(b[0xdc:])}
		if len(b) < int(sb.SectorSize) {
			return Superblock{}, errShort
		}
		if got, want := checksum(b[:sb.SectorSize]), binary.LittleEndian.Uint32(b[crcOffset:]); got != want {
			return Superblock{}, errChecksum
		}
	}
	return sb, nil
}

func (sb Superblock) checkGeometry(blockLog, sectorLog byte) error {
	powerOf2 := func(n, low, high uint32, log byte) bool {
		return n >= low && n <= high && n&(n-1) == 0 && bits.TrailingZeros32(n) == int(log)
	}
	switch ag := uint64(sb.AGBlocks); {
	case !powerOf2(sb.BlockSize, 512, 65536, blockLog):
		return fmt.Errorf("%w: block size %d", errGeometry, sb.BlockSize)
	case !powerOf2(uint32(sb.SectorSize), 512, sectorMax, sectorLog):
		return fmt.Errorf("%w: sector size %d", errGeometry, sb.SectorSize)
	case uint32(sb.SectorSize) > sb.BlockSize:
		return fmt.Errorf("%w: sector larger than block", errGeometry)
	case ag < minAGBlocks, bits.Len32(sb.AGBlocks-1) != int(sb.agLog):
		return fmt.Errorf("%w: allocation groups of %d blocks", errGeometry, sb.AGBlocks)
	case sb.AGCount == 0,
		sb.DataBlocks > ag*uint64(sb.AGCount),
		sb.DataBlocks <= ag*uint64(sb.AGCount-1):
		return fmt.Errorf("%w: %d blocks in %d allocation groups", errGeometry, sb.DataBlocks, sb.AGCount)
	case sb.DataBlocks > 1<<62/uint64(sb.BlockSize):
		return fmt.Errorf("%w: %d blocks", errGeometry, sb.DataBlocks)
	}
	return nil
}

// checksum returns the CRC32C of a superblock's sector, computed with a zeroed checksum
// field.
func checksum(sector []byte) uint32 {
	c := crc32.Update(0, castagnoli, sector[:crcOffset])
	c = crc32.Update(c, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(c, castagnoli, sector[crcOffset+4:])
}

// obstacle returns a reason why a kernel may not mount a sound superblock.
func (sb Superblock) obstacle() string {
	switch {
	case sb.LogStart == 0:
		return "its log is on another device"
	case sb.RTBlocks != 0:
		return "it has a realtime volume, on another device"
	case sb.Features.Incompat&needsRepair != 0:
		return "an xfs_repair of it was interrupted"
	case sb.Version == 4:
		return "it has the old format, version 4 (crc=0), which newer kernels do not support"
	}
	f := sb.Features
	return fmt.Sprintf("damaged, or made with features that this kernel lacks (it has ro_compat %#x, incompat %#x, log_incompat %#x)", f.ROCompat, f.Incompat, f.LogIncompat)
}

// NeedsGrow reports whether growing to a device of deviceSize bytes would add space. The
// kernel drops a last allocation group of less than 64 blocks, so a smaller difference does
// not count.
func NeedsGrow(sb Superblock, deviceSize int64) bool {
	return deviceSize > 0 && uint64(deviceSize)/uint64(sb.BlockSize) >= sb.DataBlocks+minAGBlocks
}

// LargerThan reports whether the file system is larger than a device of size bytes, so that
// its end is missing.
func LargerThan(sb Superblock, size int64) bool { return sb.Size() > size }
