package mountfs

import (
	"slices"
	"strings"
)

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

// MountAt returns the mount that is visible at target, which must be absolute and clean.
func MountAt(mounts []Mount, target string) (Mount, bool) {
	m := MountAbove(mounts, target)
	if m.Target != target || !slices.Contains(mounts, m) { // nothing contains the path
		return Mount{}, false
	}
	return m, true
}

// MountedAt says whether the topmost mount at target is the device's XFS itself, not a bind
// mount of a part of it.
func MountedAt(mounts []Mount, target string, dev Device) bool {
	m, ok := MountAt(mounts, target)
	return ok && m.Major == dev.Major && m.Minor == dev.Minor && m.Root == "/" && m.FSType == "xfs"
}

// MountAbove returns the mount that contains path, which must be absolute and clean. It walks
// from the root as the kernel does: a mount that is covered, by one on the same directory or
// over a parent of it, is never reached. (path_resolution(7))
func MountAbove(mounts []Mount, path string) (above Mount) {
	listed := map[int]bool{}
	for _, m := range mounts {
		listed[m.ID] = true
	}
	inside := func(m Mount, walked int) bool { // is m mounted on the mount that the walk is at?
		if walked == 0 {
			return m.Parent == m.ID || !listed[m.Parent]
		}
		return m.Parent == above.ID && m.ID != above.ID
	}
	for walked := range len(mounts) {
		next := -1
		for i, m := range mounts {
			if inside(m, walked) && isBelow(path, m.Target) && (next < 0 || len(m.Target) < len(mounts[next].Target)) {
				next = i
			}
		}
		if next < 0 {
			return above
		}
		above = mounts[next]
	}
	return above
}

// isBelow reports whether path is dir or below it; both are clean.
func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
