//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// addDev creates /dev with the devices that every program expects, and none of the host's
// disks. The nodes and links of attached volumes are added later, from outside.
func (r rootFS) addDev() error {
	dev := r.inside("/dev")
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, n := range []struct {
		name         string
		mode         uint32
		major, minor uint32 // Linux devices.txt
	}{
		{"null", 0o666, 1, 3},
		{"zero", 0o666, 1, 5},
		{"full", 0o666, 1, 7},
		{"random", 0o666, 1, 8},
		{"urandom", 0o666, 1, 9},
		{"kmsg", 0o644, 1, 11},
		{"tty", 0o666, 5, 0},
		{"ptmx", 0o666, 5, 2},
	} {
		path := filepath.Join(dev, n.name)
		if err := unix.Mknod(path, unix.S_IFCHR|n.mode, int(unix.Mkdev(n.major, n.minor))); err != nil {
			return fmt.Errorf("make /dev/%s: %w", n.name, err)
		}
		if err := unix.Chmod(path, n.mode); err != nil { // whatever the umask is
			return fmt.Errorf("make /dev/%s: %w", n.name, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	if err := makeDir(filepath.Join(dev, "disk/by-id"), 0o755); err != nil {
		return fmt.Errorf("make /dev/disk: %w", err)
	}
	if err := makeDir(filepath.Join(dev, "shm"), 0o1777); err != nil {
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	// Our terminal is one of the host's: it keeps its name.
	return r.bind("/dev/pts", unix.MS_NOSUID|unix.MS_NOEXEC)
}
