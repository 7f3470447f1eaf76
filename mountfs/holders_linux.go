package mountfs

import (
	"fmt"
	"slices"
	"strings"
)

// Holders lists what keeps a mounted device from being unmounted and detached: processes with a
// file of it open or mapped, or with their working or root directory there; mounts inside of it;
// and one process of each mount namespace whose mount of it stays when this one is unmounted.
// It is empty if there is nothing. It can't see what only the kernel uses, such as a loop device.
func Holders(d Device) ([]string, error) {
	mounts, err := Mounts()
	if err != nil {
		return nil, err
	}
	self := process("/proc/self")
	ours, err := self.namespace()
	if err != nil {
		return nil, fmt.Errorf("read the mount namespace: %w", err)
	}
	groups := peerGroups(self.mountLines(d))
	holders := inside(d, mounts)
	seen := map[string]bool{ours: true}
	itself := false
	for _, p := range processes() {
		opened := p.opened(d)
		if opened && p.isSelf() {
			itself = true
			continue
		}
		namespace, err := p.namespace()
		if err != nil {
			continue
		}
		keeps := !seen[namespace] && slices.ContainsFunc(p.mountLines(d), func(line string) bool { return keptBy(line, groups) })
		seen[namespace] = true
		if opened || keeps {
			holders = append(holders, p.name())
		}
	}
	if itself && len(holders) == 0 {
		holders = []string{"this command itself (its working directory, or a file that it has open)"}
	}
	return shortened(holders), nil
}

// inside lists the mounts of other file systems in the device's.
func inside(d Device, mounts []Mount) (found []string) {
	for _, of := range d.mounts(mounts) {
		for _, m := range mounts {
			if m.Parent == of.ID && m.ID != of.ID && (m.Major != d.Major || m.Minor != d.Minor) {
				found = append(found, fmt.Sprintf("the mount %s (%s)", m.Target, m.FSType))
			}
		}
	}
	return found
}

// optional returns the optional fields of a line of mountinfo: "shared:5", "master:3".
// (proc_pid_mountinfo(5))
func optional(line string) []string {
	const first = 6 // the fields before
	before, _, _ := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	return fields[min(first, len(fields)):]
}

// peerGroups returns the groups that mounts propagate to.
func peerGroups(lines []string) (groups []string) {
	for _, line := range lines {
		for _, o := range optional(line) {
			if strings.HasPrefix(o, "shared:") {
				groups = append(groups, o)
			}
		}
	}
	return groups
}

// keptBy reports whether a mount of another namespace stays when those of the groups are
// unmounted: it is neither in a group nor a slave. (mount_namespaces(7))
func keptBy(line string, groups []string) bool {
	return !slices.ContainsFunc(optional(line), func(o string) bool {
		return slices.Contains(groups, o) || strings.HasPrefix(o, "master:")
	})
}
