package mountfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Kind classifies the contents of a device by what we may do with it.
type Kind int

// The kinds of contents. The zero Kind is none of them, so a forgotten result is never
// taken as a blank device.
const (
	// Blank: every byte read was zero.
	Blank Kind = iota + 1
	// XFS: a whole XFS superblock.
	XFS
	// Unfinished: an unfinished XFS with our UUID.
	Unfinished
	// Foreign: anything else, including a damaged XFS. Never written to.
	Foreign
)

// String names the kind in one word.
func (k Kind) String() string {
	switch k {
	case Blank:
		return "blank"
	case XFS:
		return "XFS"
	case Unfinished:
		return "half-made"
	case Foreign:
		return "foreign"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Contents is the result of a probe.
type Contents struct {
	Kind Kind
	What string      // for people: "ext4", "XFS, superblock checksum wrong", "unknown data at byte 1234"
	XFS  *Superblock // for XFS and Unfinished
}

const (
	// edge bytes are read at both ends. The farthest known signatures lie below 4 MiB: VMFS
	// at 2 MiB; LUKS2, whose last header copy lies at 4 MiB, has its first at 0.
	edge = 4 << 20
	// sampleSize is the size of a sample between the edges: one page.
	sampleSize = 4 << 10
	// samples is the number of evenly spread samples between the edges.
	samples = 64
	// chunk is the size of one read: EBS splits at 256 KiB, and a few of these in parallel
	// use its throughput.
	chunk = 1 << 20
	// parallel reads hide the latency of EBS, half a millisecond per read.
	parallel = 16
)

// Probe classifies a device of size bytes. ours is the UUID that our mkfs gives this
// volume, "" for none.
//
// XFS requires a sound superblock at byte 0. Blank requires that all of these are zeros:
// the first and last 4 MiB, the places where copies of a zeroed superblock would lie (XFS,
// ext4, btrfs), and 64 samples in between. A failed or short read is an error, never Blank.
//
// mkfs.xfs writes the first superblock before anything else, marked as in progress, and
// clears that mark with its last write. So only that mark together with our UUID is
// Unfinished; a file system whose first superblock was wiped is Foreign, even with our UUID
// in the copies.
func Probe(r io.ReaderAt, size int64, ours string) (Contents, error) {
	if size <= 0 {
		return Contents{}, fmt.Errorf("probe: device of %d bytes", size)
	}
	// Read the superblock first and alone: on a volume that EBS still loads from a snapshot
	// every other block costs time.
	first := make([]byte, min(size, sectorMax))
	if err := readFull(r, first, 0); err != nil {
		return Contents{}, fmt.Errorf("probe: %w", err)
	}
	switch sb, err := ParseSuperblock(first); {
	case err == nil && sb.InProgress && ours != "" && sb.UUID == ours:
		return Contents{Kind: Unfinished, What: "our own unfinished XFS", XFS: &sb}, nil
	case err == nil && sb.InProgress:
		return Contents{Kind: Foreign, What: "unfinished XFS, not ours: UUID " + sb.UUID}, nil
	case err == nil:
		return Contents{Kind: XFS, What: fmt.Sprintf("XFS %q", sb.Label), XFS: &sb}, nil
	case !errors.Is(err, errNoMagic):
		return Contents{Kind: Foreign, What: err.Error()}, nil
	}
	im, err := readImage(r, size)
	if err != nil {
		return Contents{}, fmt.Errorf("probe: %w", err)
	}
	return im.classify(), nil
}

// classify decides between Blank and Foreign.
func (im *image) classify() Contents {
	at, found := im.firstNonZero()
	if !found {
		return Contents{Kind: Blank, What: "blank"}
	}
	for _, s := range signatures {
		if what := s(im); what != "" {
			return Contents{Kind: Foreign, What: what}
		}
	}
	return Contents{Kind: Foreign, What: fmt.Sprintf("unknown data at byte %d", at)}
}

// image holds the parts of a device that were read.
type image struct {
	size  int64
	parts []part // by offset; samples may touch an edge
}

type part struct {
	off  int64
	data []byte
}

// readImage reads all parts that a proof of blankness needs, in parallel.
func readImage(r io.ReaderAt, size int64) (*image, error) {
	im := &image{size: size}
	head := min(size, edge)
	im.parts = append(im.parts, part{0, make([]byte, head)})
	tail := max(head, size-edge)
	for _, off := range sampleOffsets(size) {
		if off >= head && off+sampleSize <= tail {
			im.parts = append(im.parts, part{off, make([]byte, sampleSize)})
		}
	}
	if tail < size {
		im.parts = append(im.parts, part{tail, make([]byte, size-tail)})
	}

	var reads errgroup.Group
	reads.SetLimit(parallel)
	for _, p := range im.parts {
		off := p.off
		for b := range slices.Chunk(p.data, chunk) {
			at := off
			reads.Go(func() error { return readFull(r, b, at) })
			off += int64(len(b))
		}
	}
	return im, reads.Wait()
}

// sampleOffsets returns the sorted offsets of samples between the edges: evenly spread
// ones, the starts of mkfs.xfs's allocation groups, and the places where other file systems
// keep copies of their superblocks.
func sampleOffsets(size int64) []int64 {
	var offs []int64
	for i := range int64(samples) {
		offs = append(offs, size/samples*i&^(sampleSize-1))
	}
	// mkfs.xfs divides blocks of 4 KiB into four groups, rounded up, or from
	// 4 TiB on into groups of one block less than 1 TiB (xfsprogs
	// libxfs/topology.c calc_default_ag_geometry).
	blocks := size / sampleSize
	group := (blocks + 3) / 4
	if size >= 4<<40 {
		group = 1<<40/sampleSize - 1
	}
	for b := group; group > 0 && b < blocks; b += group {
		offs = append(offs, b*sampleSize)
	}
	for _, off := range slices.Concat(extCopies, btrfsCopies) {
		if off+sampleSize <= size {
			offs = append(offs, off)
		}
	}
	slices.Sort(offs)
	return slices.Compact(offs)
}

// readFull fills b from off; a short read is an error.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil // io.EOF is allowed at the very end
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: got %d: %w", len(b), off, n, err)
}

// at returns n bytes from off, or nil if they lie outside or were not read. A negative off
// counts from the device's end.
func (im *image) at(off, n int64) []byte {
	if off < 0 {
		off += im.size
	}
	for _, p := range im.parts {
		if off >= p.off && off+n <= p.off+int64(len(p.data)) {
			return p.data[off-p.off:][:n]
		}
	}
	return nil
}

// firstNonZero returns the offset of the first non-zero byte.
func (im *image) firstNonZero() (int64, bool) {
	var zero [sampleSize]byte
	for _, p := range im.parts {
		off := p.off
		for b := range slices.Chunk(p.data, len(zero)) {
			// Comparing pages is many times faster than comparing bytes.
			if !bytes.Equal(b, zero[:len(b)]) {
				i := slices.IndexFunc(b, func(c byte) bool { return c != 0 })
				return off + int64(i), true
			}
			off += int64(len(b))
		}
	}
	return 0, false
}
