package mountfs

import "io/fs"

// TargetState is what is at a place where we want to mount.
type TargetState int

// The states of a target. The zero TargetState is none of them.
const (
	Absent   TargetState = iota + 1 // nothing there, all existing parents are directories
	Empty                           // an empty directory
	Occupied                        // a directory with something in it
	Mounted                         // something is mounted there
	Unusable                        // not a directory, or a symbolic link on the path
)

// Target is what LookTarget found.
type Target struct {
	Path     string
	State    TargetState
	Mount    Mount       // for a mounted target, the topmost
	Mode     fs.FileMode // permissions, of what is mounted if something is
	Dev, Ino uint64
	Detail   string // for people, why it is Occupied or Unusable
}
