package mountfs

// XFSGeometry is what a mounted XFS says about itself.
type XFSGeometry struct {
	UUID       string
	BlockSize  uint32 // bytes
	DataBlocks uint64
	ImaxPct    uint32 // most of the space that inodes may take, percent
}

// Size is what the file system occupies, in bytes.
func (g XFSGeometry) Size() int64 { return int64(g.DataBlocks) * int64(g.BlockSize) }
