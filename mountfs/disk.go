package mountfs

// Format is how Disk.Format makes the file system.
type Format struct {
	UUID    string   // UUIDFor the volume
	Label   string   // what it is called; XFS keeps 12 bytes of it
	Options []string // more arguments to mkfs.xfs, "-m", "reflink=0" say
}
