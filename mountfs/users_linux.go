package mountfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// usersTimeout is how long remaining users may take: the kernel shuts a file system
	// down after its last user ends, and udev probes a device for milliseconds.
	usersTimeout = 2 * time.Second

	// usersMax is the most users in a message.
	usersMax = 5
)

// Users lists the processes that still use a device after its file system was unmounted in
// this mount namespace, one per mount namespace: "nginx (pid 4711)". It is empty if there
// are none. A container keeps the file systems alive that were mounted when it started, and
// EC2 can't detach their volumes. (moby#40642, kubernetes#37854)
func Users(ctx context.Context, d Device) ([]string, error) {
	for end := time.Now().Add(usersTimeout); ; {
		used, err := d.used()
		if err != nil || !used {
			return nil, err
		}
		if time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the users of %s to end: %w", d.Node, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
	users := d.users()
	if len(users) == 0 {
		users = []string{"no process visible in /proc"}
	}
	return users, nil
}

// used says whether the device is in use: a device with a mounted file system can't be
// opened exclusively, and XFS lists its devices in sysfs.
func (d Device) used() (bool, error) {
	fd, err := unix.Open(d.Node, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return true, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return false, nil // the device is gone
	case err != nil:
		return false, fmt.Errorf("open %s: %w", d.Node, err)
	}
	defer unix.Close(fd)
	_, err = os.Stat(filepath.Join("/sys/fs/xfs", filepath.Base(d.Node)))
	return err == nil, nil
}

// users lists processes that have the device's file system mounted or a file of it open.
func (d Device) users() (users []string) {
	seen := map[string]bool{}
	for _, p := range processes() {
		if !p.shows(d) && !p.opened(d) {
			continue
		}
		namespace, err := p.namespace()
		if err != nil || seen[namespace] {
			continue
		}
		seen[namespace] = true
		users = append(users, p.name())
	}
	return shortened(users)
}

// shortened replaces what is more than [usersMax], and leaves out processes that have ended.
func shortened(users []string) []string {
	users = slices.DeleteFunc(users, func(u string) bool { return u == "" })
	if len(users) > usersMax {
		users = append(users[:usersMax:usersMax], "others")
	}
	return users
}
