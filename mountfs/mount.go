package mountfs

// XFSMount is the result of MountXFS.
type XFSMount struct {
	Already bool // it was mounted there before
	NoUUID  bool // mounted with nouuid: a file system with the same UUID, a copy, is mounted
}
