package hotset

import (
	"encoding/binary"
	"hash/crc32"

	"snapsource/mountfs"
)

// A record is the magic text, numbers as varints, and a CRC32C of all before it:
//
//	time, flags, size of the file system
//	the number of ranges of metadata, and these
//	the number of files, and for each:
//	  bytes of the path that it shares with the file before, bytes of the rest, the rest
//	  inode, size, time of modification, flags
//	  the number of ranges of the file, and these
//	  the number of ranges of the device, and these
//
// A range is the distance from the end of the one before, and its length. Distances on the device
// and times have a sign.
const magic = "snapsource hot 1\n"

// pathsMax bounds the sum of all paths: as each shares its start with the one before, a small
// record could hold gigabytes of them.
const pathsMax = 8 << 20

const (
	flagByHand   = 1
	flagComplete = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encoder encodes a set file by file, so that it can stop at a number of bytes.
type encoder struct {
	files  []byte
	count  int
	path   string // of the last file
	paths  int    // bytes of all paths
	ranges int    // of all files, and of their blocks
}

// encodedRange is the most bytes of a range: of two numbers below 2^62, with their sign.
const encodedRange = 18

// add appends a file, unless the files then take more than most bytes.
func (e *encoder) add(f *File, most int) bool {
	before := len(e.files)
	b := e.files
	shared := 0
	for shared < len(f.Path) && shared < len(e.path) && f.Path[shared] == e.path[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(f.Path)-shared))
	b = append(b, f.Path[shared:]...)
	b = binary.AppendUvarint(b, f.Inode)
	b = binary.AppendUvarint(b, uint64(f.Size))
	b = binary.AppendVarint(b, f.Modified.UnixNano())
	flags := uint64(0)
	if f.ByHand {
		flags = flagByHand
	}
	b = binary.AppendUvarint(b, flags)
	b = appendSorted(b, f.Ranges)
	b = appendUnsorted(b, f.Blocks)
	ranges := len(f.Ranges) + len(f.Blocks)
	if len(b) > most || e.paths+len(f.Path) > pathsMax || e.count == maxFiles || e.ranges+ranges > maxRanges {
		e.files = b[:before]
		return false
	}
	e.ranges += ranges
	e.files, e.path = b, f.Path
	e.paths += len(f.Path)
	e.count++
	return true
}

// finish returns the record; s.Files are those that were added.
func (e *encoder) finish(s *Set) []byte {
	b := []byte(magic)
	b = binary.AppendVarint(b, s.Recorded.Unix())
	flags := uint64(0)
	if s.ByHand {
		flags |= flagByHand
	}
	if s.Complete {
		flags |= flagComplete
	}
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, uint64(s.Size))
	b = appendUnsorted(b, s.Metadata)
	b = binary.AppendUvarint(b, uint64(e.count))
	b = append(b, e.files...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendSorted(b []byte, ranges []mountfs.Range) []byte {
	b = binary.AppendUvarint(b, uint64(len(ranges)))
	end := int64(0)
	for _, r := range ranges {
		b = binary.AppendUvarint(b, uint64(r.Start-end))
		b = binary.AppendUvarint(b, uint64(r.Length))
		end = r.End()
	}
	return b
}

func appendUnsorted(b []byte, ranges []mountfs.Range) []byte {
	b = binary.AppendUvarint(b, uint64(len(ranges)))
	end := int64(0)
	for _, r := range ranges {
		b = binary.AppendVarint(b, r.Start-end)
		b = binary.AppendUvarint(b, uint64(r.Length))
		end = r.End()
	}
	return b
}
