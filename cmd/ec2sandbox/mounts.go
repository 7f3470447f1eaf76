//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// rootFS is an instance's root file system: the host's files, with the instance's writes in
// layers of its own.
type rootFS struct {
	layers string // the instance's writes
	merged string // where it is assembled
}

// unsharedTrees are the trees whose mounts an instance does not share with the host: it has
// its own, or they belong to a container engine, which mounts and unmounts there all the
// time.
var unsharedTrees = []string{
	"/proc", "/sys", "/dev", "/run",
	"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet",
}

// build assembles the root file system in the calling process's mount namespace and makes
// it the root. state stays readable at its path.
func (r rootFS) build(state string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	if err := os.MkdirAll(r.merged, 0o755); err != nil {
		return fmt.Errorf("make the root file system: %w", err)
	}
	if err := r.overlay("/", "root"); err != nil {
		return err
	}
	if err := r.addSubmounts(mounts); err != nil {
		return err
	}
	if err := r.addKernel(); err != nil {
		return err
	}
	if err := r.addDev(); err != nil {
		return err
	}
	if err := r.bind(state, unix.MS_RDONLY); err != nil {
		return err
	}
	return r.pivot()
}

// overlay mounts a tree of the host, copy-on-write, below merged.
func (r rootFS) overlay(lower, layer string) error {
	upper, work := filepath.Join(r.layers, layer, "upper"), filepath.Join(r.layers, layer, "work")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return fmt.Errorf("overlay %s: %w", lower, err)
	}
	if err := sameDir(lower, upper); err != nil {
		return fmt.Errorf("overlay %s: %w", lower, err)
	}
	options := "lowerdir=" + escape(lower) + ",upperdir=" + escape(upper) + ",workdir=" + escape(work)
	err := unix.Mount("overlay", r.inside(lower), "overlay", 0, options)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("overlay %s: %w: the file system of %s (%s) may not be able to hold an overlay's upper layer: put --state on ext4, XFS or tmpfs (in a container: on a volume, or in /dev/shm)",
			lower, err, r.layers, fileSystem(r.layers))
	}
	if err != nil {
		return fmt.Errorf("overlay %s: %w", lower, err)
	}
	return nil
}

// sameDir creates a directory with the mode and owner of another: an overlay's own root
// directory is the upper one.
func sameDir(of, dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(of, &st); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil // an earlier run made it, and the instance may have changed it
	}
	if err != nil {
		return err
	}
	return errors.Join(unix.Chown(dir, int(st.Uid), int(st.Gid)), unix.Chmod(dir, st.Mode&0o7777))
}

// escape escapes the special characters of overlay's options.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

func fileSystem(path string) string {
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil || len(mounts) == 0 {
		return "unknown"
	}
	longest := slices.MaxFunc(mounts, func(a, b *mountinfo.Info) int { return len(a.Mountpoint) - len(b.Mountpoint) })
	return longest.FSType
}

// pseudo are the types of file systems without files of the host.
var pseudo = []string{
	"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
	"fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "sysfs", "tracefs",
}

// addSubmounts adds the host's mounts: directories copy-on-write, so that /home may be a
// file system of its own; all others read-only.
func (r rootFS) addSubmounts(mounts []*mountinfo.Info) error {
	seen := map[string]bool{"/": true}
	for _, m := range mounts {
		path := m.Mountpoint
		if seen[path] || slices.Contains(pseudo, m.FSType) || slices.ContainsFunc(unsharedTrees, func(dir string) bool { return isBelow(path, dir) }) {
			continue
		}
		seen[path] = true
		info, err := os.Stat(path)
		if err != nil {
			continue // hidden by a later mount, or not accessible to root (FUSE)
		}
		if _, err := os.Lstat(r.inside(path)); err != nil {
			continue
		}
		if info.IsDir() && m.FSType != "overlay" {
			layer := filepath.Join("mounts", strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "\\"))
			if r.overlay(path, layer) == nil {
				continue
			}
		}
		if err := r.bind(path, unix.MS_RDONLY); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isBelow says whether path is dir or below it.
func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// bind mounts a file or directory of the host below merged.
func (r rootFS) bind(path string, flags uintptr) error {
	target := r.inside(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
	}
	if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("bind %s: remount: %w", path, err)
	}
	return nil
}

func (r rootFS) inside(path string) string { return filepath.Join(r.merged, path) }

// addKernel adds /proc, /sys and an empty /run.
func (r rootFS) addKernel() error {
	for _, m := range []struct {
		kind, path, options string
		flags               uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.kind, r.inside(m.path), m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	if err := makeDir(r.inside("/run/lock"), 0o1777); err != nil {
		return err
	}
	const noPrivileges = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := r.bind("/sys", unix.MS_RDONLY|noPrivileges); err != nil {
		return err
	}
	err := r.bind(rcuExpedited, noPrivileges)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without it
	}
	return err
}

// rcuExpedited is the only file in /sys that an instance may write, as on EC2: a freeze
// turns it on for a moment. It affects the host too, whose processors then wait less for
// each other.
const rcuExpedited = "/sys/kernel/rcu_expedited"

// keepRCU returns a function that turns rcu_expedited off again if it is off now: an instance
// that is killed while it freezes leaves it on, and the host's kernel does not end with it. A
// freeze of another instance only takes longer.
func keepRCU() (restore func()) {
	if value, err := os.ReadFile(rcuExpedited); err != nil || strings.TrimSpace(string(value)) != "0" {
		return func() {}
	}
	return func() { _ = os.WriteFile(rcuExpedited, []byte("0"), 0) } // a failure costs idle time only
}

// pivot makes merged the root and unmounts the host's tree.
func (r rootFS) pivot() error {
	if err := unix.Chdir(r.merged); err != nil {
		return fmt.Errorf("enter the root file system: %w", err)
	}
	// The old root is now mounted on top of the new one.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter the root file system: pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return nil
}

// makeDir creates a directory with exactly the given mode.
func makeDir(path string, mode uint32) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return unix.Chmod(path, mode)
}
