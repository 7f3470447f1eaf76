package mountfs

// XFSGeometry is the geometry of a mounted XFS.
type XFSGeometry struct {
	UUID       string
	BlockSize  uint32 // bytes
	DataBlocks uint64
	ImaxPct    uint32 // maximum share of the space for inodes, percent
}

// Size returns the size of the file system in bytes.
func (g XFSGeometry) Size() int64 { return int64(g.DataBlocks) * int64(g.BlockSize) }
