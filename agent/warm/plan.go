package warm

import "snapsource/mountfs"

// blockSize is the unit in which EBS stores snapshots, in bytes. (ListSnapshotBlocks, API
// reference) Reads of one block follow each other: the first one loads it, and a second one side
// by side would wait for the same block.
const blockSize = 512 << 10

// unit is what is to be read of one block: at least one range.
type unit []mountfs.Range

// bytes returns the length of the unit's ranges.
func (u unit) bytes() (n int64) {
	for _, r := range u {
		n += r.Length
	}
	return n
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
			if len(u) > 0 && block(u[0]) != block(rest) {
				return u
			}
			var piece mountfs.Range
			piece, rest = cutAtBlock(rest)
			u = append(u, piece)
		}
	}
}

// inOrderOfUse returns the units of disjoint ranges in the order in which their blocks come
// first. Ranges with a small gap between them are read as one.
func inOrderOfUse(ranges []mountfs.Range) []unit {
	at := map[int64]int{}
	var all []unit
	for _, r := range ranges {
		for r.Length > 0 {
			var piece mountfs.Range
			piece, r = cutAtBlock(r)
			i, known := at[block(piece)]
			if !known {
				i = len(all)
				at[block(piece)] = i
				all = append(all, nil)
			}
			all[i] = append(all[i], piece)
		}
	}
	for i := range all {
		all[i] = joinGaps(all[i])
	}
	return all
}

// gapMax is the largest gap between two ranges that are read as one. By the limits of a gp3
// volume, 125 MiB/s and 3,000 I/Os a second, an I/O costs as much as 43 KiB.
const gapMax = 32 << 10

// joinGaps sorts the ranges of a block and joins those with a small gap between them.
func joinGaps(u unit) unit {
	u = mountfs.MergeRanges(u)
	joined := u[:1]
	for _, r := range u[1:] {
		last := &joined[len(joined)-1]
		if r.Start-last.End() <= gapMax {
			last.Length = r.End() - last.Start
		} else {
			joined = append(joined, r)
		}
	}
	return joined
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

func block(r mountfs.Range) int64 { return r.Start / blockSize }

// cutAtBlock returns the part of a range in its first block, and the rest.
func cutAtBlock(r mountfs.Range) (first, rest mountfs.Range) {
	n := min(r.Length, blockSize-r.Start%blockSize)
	return mountfs.Range{Start: r.Start, Length: n}, mountfs.Range{Start: r.Start + n, Length: r.Length - n}
}

// aligned returns the smallest range that contains r and that a direct read accepts, on a device
// of size bytes.
func aligned(r mountfs.Range, size int64) mountfs.Range {
	start := r.Start / mountfs.ReadAlignment * mountfs.ReadAlignment
	end := (r.End() + mountfs.ReadAlignment - 1) / mountfs.ReadAlignment * mountfs.ReadAlignment
	return mountfs.Range{Start: start, Length: min(end, size) - start}
}
