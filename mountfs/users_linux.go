package mountfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// usersLeave is how long users that are about to leave may take: the kernel takes a
	// file system down with its last user, and udev looks at a device for milliseconds.
	usersLeave = 2 * time.Second

	// usersMax is how many users are named.
	usersMax = 5
)

// Users names who still uses a device after its file system was unmounted in this mount
// namespace: "nginx (pid 4711)", one for each mount namespace; none if nobody does. A
// container keeps a file system alive that was mounted when it was started; EC2 can't
// detach the volume then. (moby#40642, kubernetes#37854)
func Users(ctx context.Context, d Device) ([]string, error) {
	for end := time.Now().Add(usersLeave); ; {
		used, err := d.used()
		if err != nil || !used {
			return nil, err
		}
		if time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the users of %s to leave: %w", d.Node, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
	users := d.users()
	if len(users) == 0 {
		users = []string{"no process that /proc shows"}
	}
	return users, nil
}

// used asks the kernel: a device with a mounted file system can't be opened exclusively,
// and XFS lists its own.
func (d Device) used() (bool, error) {
	fd, err := unix.Open(d.Node, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return true, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return false, nil // it is gone
	case err != nil:
		return false, fmt.Errorf("open %s: %w", d.Node, err)
	}
	defer unix.Close(fd)
	_, err = os.Stat(filepath.Join("/sys/fs/xfs", filepath.Base(d.Node)))
	return err == nil, nil
}

// users looks for processes that have the device's file system mounted, or a file of it
// open.
func (d Device) users() (users []string) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	for _, p := range processes {
		dir := filepath.Join("/proc", p.Name())
		if _, err := strconv.Atoi(p.Name()); err != nil || !d.usedBy(dir) {
			continue
		}
		namespace, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if err != nil || seen[namespace] {
			continue
		}
		seen[namespace] = true
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue // it has ended
		}
		if len(users) == usersMax {
			return append(users, "others")
		}
		users = append(users, fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), p.Name()))
	}
	return users
}

// usedBy says whether a process has the file system mounted, or a file of it open.
func (d Device) usedBy(dir string) bool {
	mounts, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
	if err != nil {
		return false
	}
	if strings.Contains(string(mounts), fmt.Sprintf(" %d:%d ", d.Major, d.Minor)) {
		return true
	}
	paths := []string{filepath.Join(dir, "cwd"), filepath.Join(dir, "root")}
	files, _ := os.ReadDir(filepath.Join(dir, "fd")) // it may have ended
	for _, f := range files {
		if f.Type()&fs.ModeSymlink != 0 {
			paths = append(paths, filepath.Join(dir, "fd", f.Name()))
		}
	}
	for _, path := range paths {
		// Without asking a server, which may not answer.
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
		if err == nil && st.Dev_major == d.Major && st.Dev_minor == d.Minor {
			return true
		}
	}
	return false
}
