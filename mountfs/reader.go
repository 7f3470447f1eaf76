package mountfs

// EBSBlock is the unit in bytes in which EBS stores snapshots, and loads a volume that was created
// from one: reading any byte of a block loads it. (ListSnapshotBlocks, API reference)
const EBSBlock = 512 << 10

// ReadAlignment is the alignment of direct reads in bytes: no EBS volume and no XFS has larger
// sectors than pages.
const ReadAlignment = 4096

// Aligned returns the smallest range that contains r and that a direct read accepts, on a device of
// size bytes.
func (r Range) Aligned(size int64) Range {
	start := r.Start / ReadAlignment * ReadAlignment
	end := (r.End() + ReadAlignment - 1) / ReadAlignment * ReadAlignment
	return Range{start, min(end, size) - start}
}
