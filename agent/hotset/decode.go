package hotset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"snapsource/mountfs"
)

// ErrInvalid means that a file is not a valid record.
var ErrInvalid = errors.New("not a valid record of a hot set")

// Limits of Linux for paths. (include/uapi/linux/limits.h)
const (
	pathMax = 4095
	nameMax = 255
)

// Decode decodes a record. All ranges lie within a device of deviceSize bytes, those of a file
// within the file, in order and disjoint; paths are relative and stay below the mountpoint. Else the
// error is ErrInvalid, as it is if the checksum is wrong.
func Decode(data []byte, deviceSize int64) (Set, error) {
	if len(data) > MaxBytes {
		return Set{}, fmt.Errorf("%w: %d bytes", ErrInvalid, len(data))
	}
	body := len(data) - crc32.Size
	if body < len(magic) || string(data[:len(magic)]) != magic {
		return Set{}, fmt.Errorf("%w: not of this version", ErrInvalid)
	}
	if crc32.Checksum(data[:body], castagnoli) != binary.LittleEndian.Uint32(data[body:]) {
		return Set{}, fmt.Errorf("%w: checksum wrong", ErrInvalid)
	}
	d := decoder{rest: data[len(magic):body], device: deviceSize}
	s := d.set()
	if d.wrong == "" && len(d.rest) > 0 {
		d.wrong = "bytes at the end"
	}
	if d.wrong != "" {
		return Set{}, fmt.Errorf("%w: %s", ErrInvalid, d.wrong)
	}
	return s, nil
}

// decoder decodes a record. After the first mistake it gives zeros.
type decoder struct {
	rest   []byte
	device int64 // bytes
	paths  int   // bytes of all paths so far
	ranges int   // so far
	wrong  string
}

func (d *decoder) fail(what string) {
	if d.wrong == "" {
		d.wrong, d.rest = what, nil
	}
}

// number returns a number from 0 to most.
func (d *decoder) number(what string, most int64) int64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > uint64(most) {
		d.fail(what)
		return 0
	}
	d.rest = d.rest[size:]
	return int64(n)
}

func (d *decoder) signed(what string) int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.fail(what)
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count returns a number of items that take at least size bytes each of the rest.
func (d *decoder) count(what string, size int) int {
	n := int(d.number("number of "+what, MaxBytes))
	if n > len(d.rest)/size {
		d.fail("number of " + what)
		return 0
	}
	return n
}

// countRanges returns a number of ranges, of which there are not too many in total.
func (d *decoder) countRanges(what string) int {
	n := d.count(what, 2)
	if d.ranges += n; d.ranges > maxRanges {
		d.fail("number of ranges")
		return 0
	}
	return n
}

const anyNumber = 1<<63 - 1

func (d *decoder) set() (s Set) {
	s.Recorded = time.Unix(d.signed("time"), 0)
	flags := d.number("flags", flagByHand|flagComplete)
	s.ByHand, s.Complete = flags&flagByHand != 0, flags&flagComplete != 0
	s.Size = d.number("size", d.device)
	s.Metadata = d.deviceRanges("metadata")
	path := ""
	const fileBytes = 8
	n := d.count("files", fileBytes)
	if n > maxFiles {
		d.fail("number of files")
	}
	for ; n > 0 && d.wrong == ""; n-- {
		f := d.file(path)
		path = f.Path
		s.Files = append(s.Files, f)
	}
	return s
}

func (d *decoder) file(before string) (f File) {
	shared := d.number("path", int64(len(before)))
	rest := d.count("path", 1)
	if shared+int64(rest) > pathMax {
		d.fail("path")
		return f
	}
	f.Path = before[:shared] + string(d.rest[:rest])
	d.rest = d.rest[rest:]
	d.paths += len(f.Path)
	if !validPath(f.Path) || d.paths > pathsMax {
		d.fail("path")
	}
	inode, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.fail("inode")
		return f
	}
	f.Inode, d.rest = inode, d.rest[size:]
	f.Size = d.number("size of a file", anyNumber)
	f.Modified = time.Unix(0, d.signed("time of modification"))
	f.ByHand = d.number("flags of a file", flagByHand) != 0
	end := int64(0)
	for n := d.countRanges("ranges of a file"); n > 0 && d.wrong == ""; n-- {
		start := end + d.number("range of a file", f.Size-end)
		length := d.number("range of a file", f.Size-start)
		end = start + length
		f.Ranges = append(f.Ranges, mountfs.Range{Start: start, Length: length})
	}
	f.Blocks = d.deviceRanges("blocks of a file")
	return f
}

// deviceRanges returns ranges in any order, each within the device.
func (d *decoder) deviceRanges(what string) (ranges []mountfs.Range) {
	end := int64(0)
	for n := d.countRanges(what); n > 0 && d.wrong == ""; n-- {
		distance := d.signed(what)
		if distance < -end || distance > d.device-end {
			d.fail(what + " outside the device")
			return nil
		}
		start := end + distance
		length := d.number(what+" outside the device", d.device-start)
		end = start + length
		ranges = append(ranges, mountfs.Range{Start: start, Length: length})
	}
	return ranges
}

// validPath reports whether a path is relative, clean, and leads to something below its start.
func validPath(path string) bool {
	if strings.ContainsRune(path, 0) {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || len(name) > nameMax {
			return false
		}
	}
	return true
}
