package mountfs

import "io/fs"

// TargetState is the state of a mountpoint or bind target.
type TargetState int

// The states of a target. The zero TargetState is none of them.
const (
	Absent    TargetState = iota + 1 // missing; all existing parents are directories
	Empty                            // an empty directory
	Occupied                         // a directory that is not empty
	Mounted                          // a mountpoint
	Unusable                         // not a directory, or a symbolic link on the path
	Protected                        // can't be created or prepared: immutable, or on a read-only file system
)

// Target is the result of InspectTarget.
type Target struct {
	Path     string
	State    TargetState
	Mount    Mount       // for a mounted target, the topmost
	Mode     fs.FileMode // permissions; of the mount, if there is one
	Dev, Ino uint64
	Detail   string // for people: why it is Occupied, Unusable or Protected
	Missing  string // of an Absent target: the first directory on the path that is missing
}
