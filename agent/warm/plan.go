package warm

import (
	"snapsource/agent/hotset"
	"snapsource/mountfs"
)

// part is a range of the device. If it belongs to a file of the hot set, it is read through that
// file, into the page cache: then the application finds it in memory, and the volume's throughput
// is used for it once, not twice.
type part struct {
	mountfs.Range
	file *hotset.File // nil: it is read past the page cache
	at   int64        // where in the file
}

// unit is what is to be read of one block of EBS: at least one part. Reads of one block follow each
// other: the first one loads it, and a second one side by side would wait for the same block.
type unit []part

// bytes returns the length of the unit's ranges.
func (u unit) bytes() (n int64) {
	for _, p := range u {
		n += p.Length
	}
	return n
}

// ranges returns the ranges of units, merged.
func ranges(list []unit) []mountfs.Range {
	var all []mountfs.Range
	for _, u := range list {
		for _, p := range u {
			all = append(all, p.Range)
		}
	}
	return mountfs.MergeRanges(all)
}

// units is a sequence of units. It returns nil at the end.
type units func() unit

// inOrder returns the units of ranges that are sorted and disjoint. It makes one at a time: a
// volume may have millions.
func inOrder(ranges []mountfs.Range) units {
	var rest mountfs.Range
	next := 0
	return func() (u unit) {
		for {
			if rest.Length == 0 {
				if next == len(ranges) {
					return u
				}
				rest = ranges[next]
				next++
				continue
			}
			if len(u) > 0 && block(u[0].Range) != block(rest) {
				return u
			}
			var piece mountfs.Range
			piece, rest = cutAtBlock(rest)
			u = append(u, part{Range: piece})
		}
	}
}

// byUse collects the units of a hot set in the order in which their blocks come first.
type byUse struct {
	units []unit
	of    map[int64]int // by block
	left  int64         // bytes that may be added: no more than the device has
}

func newByUse(deviceSize int64) *byUse { return &byUse{of: map[int64]int{}, left: deviceSize} }

// add adds a part, cut at the ends of blocks. A record that names the same ranges again and again
// does not have the device read more than once in total.
func (b *byUse) add(p part) {
	p.Length = min(p.Length, b.left)
	b.left -= p.Length
	for p.Length > 0 {
		piece := p
		piece.Range, p.Range = cutAtBlock(p.Range)
		p.at += piece.Length
		i, known := b.of[block(piece.Range)]
		if !known {
			i = len(b.units)
			b.of[block(piece.Range)] = i
			b.units = append(b.units, nil)
		}
		b.units[i] = append(b.units[i], piece)
	}
}

// joined returns the units, with small gaps joined.
func (b *byUse) joined() []unit {
	for i := range b.units {
		b.units[i] = joinGaps(b.units[i])
	}
	return b.units
}

// hotMetadata returns the units of what is needed to open the files of a hot set.
func hotMetadata(set hotset.Set, deviceSize int64) []unit {
	all := newByUse(deviceSize)
	for _, r := range set.Metadata {
		all.add(part{Range: r})
	}
	return all.joined()
}

// hotFiles returns the units of the files of a hot set. Up to so many bytes are read into the page
// cache, and what is more past it.
func hotFiles(set hotset.Set, deviceSize, memory int64) []unit {
	all := newByUse(deviceSize)
	for i := range set.Files {
		f := &set.Files[i]
		// A file with holes has fewer blocks than ranges: then it is unknown what lies where.
		length := mountfs.TotalLength(f.Blocks)
		if length != mountfs.TotalLength(f.Ranges) || length > memory || length < 0 {
			for _, r := range f.Blocks {
				all.add(part{Range: r})
			}
			continue
		}
		memory -= length
		for _, p := range located(f) {
			all.add(p)
		}
	}
	return all.joined()
}

// located returns the parts of a file whose ranges have as many bytes as its blocks.
func located(f *hotset.File) (parts []part) {
	blocks := f.Blocks
	var done int64 // of the first block
	for _, r := range f.Ranges {
		for r.Length > 0 && len(blocks) > 0 {
			n := min(r.Length, blocks[0].Length-done)
			if n == 0 {
				blocks, done = blocks[1:], 0
				continue
			}
			parts = append(parts, part{mountfs.Range{Start: blocks[0].Start + done, Length: n}, f, r.Start})
			r.Start, r.Length, done = r.Start+n, r.Length-n, done+n
		}
	}
	return parts
}

// gapMax is the largest gap between two ranges that are read as one. By the limits of a gp3
// volume, 125 MiB/s and 3,000 I/Os a second, an I/O costs as much as 43 KiB.
const gapMax = 32 << 10

// joinGaps joins those parts of a block that are read past the page cache and have a small gap
// between them. The parts of files follow as they are.
func joinGaps(u unit) (joined unit) {
	var direct []mountfs.Range
	var files unit
	for _, p := range u {
		if p.file != nil {
			files = append(files, p)
		} else {
			direct = append(direct, p.Range)
		}
	}
	for _, r := range mountfs.MergeRanges(direct) {
		if n := len(joined); n > 0 && r.Start-joined[n-1].End() <= gapMax {
			joined[n-1].Length = r.End() - joined[n-1].Start
		} else {
			joined = append(joined, part{Range: r})
		}
	}
	return append(joined, files...)
}

// sequence returns units from a list.
func sequence(list []unit) units {
	return func() (u unit) {
		if len(list) > 0 {
			u, list = list[0], list[1:]
		}
		return u
	}
}

func block(r mountfs.Range) int64 { return r.Start / mountfs.EBSBlock }

// cutAtBlock returns the part of a range in its first block, and the rest.
func cutAtBlock(r mountfs.Range) (first, rest mountfs.Range) {
	n := min(r.Length, mountfs.EBSBlock-r.Start%mountfs.EBSBlock)
	return mountfs.Range{Start: r.Start, Length: n}, mountfs.Range{Start: r.Start + n, Length: r.Length - n}
}
