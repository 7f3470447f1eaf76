package mountfs

// Space is the space of a device that a mounted XFS uses. The three lists are merged and
// disjoint.
type Space struct {
	// Metadata is what XFS reads to find files: the headers of the allocation groups, btrees,
	// inodes. Without reverse mapping (rmapbt=0, mkfs.xfs's default before 6.6) it is only the
	// headers and the inodes; all else is in Data.
	Metadata []Range
	// Data is all other space that is not free: files, directories, extended attributes,
	// also extents that are allocated and not written yet.
	Data []Range
	Log  []Range // the internal log
}

// Total returns the number of bytes in use.
func (s Space) Total() int64 {
	return TotalLength(s.Metadata) + TotalLength(s.Data) + TotalLength(s.Log)
}
