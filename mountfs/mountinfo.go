package mountfs

import "strings"

// Mount is a line of /proc/self/mountinfo.
type Mount struct {
	ID, Parent            int
	Target                string // the mountpoint, as this process sees it
	Root                  string // the directory of the file system that is mounted
	FSType                string
	Source                string
	Major, Minor          uint32
	Options, SuperOptions string // of this mount; of the file system
}

// MountAt returns the topmost mount at target, which must be absolute and clean.
func MountAt(mounts []Mount, target string) (Mount, bool) {
	// In a stack of mounts on one target each is the parent of the next.
	covered := make(map[int]bool)
	for _, m := range mounts {
		if m.Target == target && m.ID != m.Parent {
			covered[m.Parent] = true
		}
	}
	for _, m := range mounts {
		if m.Target == target && !covered[m.ID] {
			return m, true
		}
	}
	return Mount{}, false
}

// MountedAt says whether the topmost mount at target is the device's XFS itself, not a bind
// mount of a part of it.
func MountedAt(mounts []Mount, target string, dev Device) bool {
	m, ok := MountAt(mounts, target)
	return ok && m.Major == dev.Major && m.Minor == dev.Minor && m.Root == "/" && m.FSType == "xfs"
}

// MountAbove returns the mount that contains path, which must be absolute and clean.
func MountAbove(mounts []Mount, path string) (above Mount) {
	for _, m := range mounts {
		if isBelow(path, m.Target) && len(m.Target) >= len(above.Target) {
			above = m // of mounts on one target the last is on top
		}
	}
	return above
}

// isBelow reports whether path is dir or below it; both are clean.
func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
