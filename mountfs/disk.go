package mountfs

// Format holds the parameters of Disk.Format.
type Format struct {
	UUID    string   // see [UUIDFor]
	Label   string   // truncated to XFS's 12 bytes
	Options []string // more arguments of mkfs.xfs, such as "-m", "reflink=0"
}
