//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	fuseMinor = 229 // of /dev/fuse (Linux devices.txt)
	// fuseBackground is how many requests the kernel sends at once. A loop device has at most
	// 128 requests (drivers/block/loop.c, LOOP_DEFAULT_HW_Q_DEPTH), each of which may be split
	// in two.
	fuseBackground = 512
	fuseRequest    = 1 << 20 // bytes: the kernel's limit (fs/fuse/inode.c, FUSE_DEFAULT_MAX_PAGES_LIMIT)
)

// fuseMount is a mounted fuseFile. It is mounted nowhere: it belongs to a file descriptor of
// ours, and ends with us.
type fuseMount struct {
	mount  *os.File
	path   string // of the file, in the mount
	served chan struct{}
}

// mountFile mounts the file system of a volume whose image has an absolute path.
func mountFile(image string, volume *lazyVolume) (*fuseMount, error) {
	device, err := openFuse()
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	mount, err := mountDetached("fuse", [][2]string{
		{"fd", strconv.Itoa(device)}, {"rootmode", "40000"}, {"user_id", "0"}, {"group_id", "0"},
		{"max_read", strconv.Itoa(fuseRequest)},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount FUSE: %w", err), unix.Close(device))
	}
	path := strings.TrimPrefix(filepath.Clean(image), "/")
	m := &fuseMount{mount: mount, path: path, served: make(chan struct{})}
	files := &fuseFile{RawFileSystem: fuse.NewDefaultRawFileSystem(), names: strings.Split(path, "/"), volume: volume}
	server, err := fuse.NewServer(files, "/dev/fd/"+strconv.Itoa(device), &fuse.MountOptions{
		MaxBackground: fuseBackground, CongestionThreshold: fuseBackground, MaxWrite: fuseRequest,
		// Without it the requests of a loop device, which are asynchronous direct I/O, would be
		// served one by one.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		// After a kill of an instance there are requests that nobody waits for any more.
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve FUSE: %w", err), mount.Close())
	}
	go func() { // ends when the file system is unmounted, after close
		server.Serve()
		close(m.served)
	}()
	return m, nil
}

// open opens the volume's file.
func (m *fuseMount) open() (*os.File, error) {
	fd, err := unix.Openat(int(m.mount.Fd()), m.path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s on FUSE: %w", m.path, err)
	}
	return os.NewFile(uintptr(fd), "/"+m.path), nil
}

// refresh has the kernel read the size of the file again.
func (m *fuseMount) refresh() error {
	var st unix.Statx_t
	if err := unix.Statx(int(m.mount.Fd()), m.path, unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE, &st); err != nil {
		return fmt.Errorf("read the size of %s: %w", m.path, err)
	}
	return nil
}

// close unmounts the file system and waits until all requests have been answered. The loop
// device must have been released.
func (m *fuseMount) close() error {
	err := m.mount.Close()
	timer := time.NewTimer(teardownTimeout)
	defer timer.Stop()
	select {
	case <-m.served:
	case <-timer.C:
		err = errors.Join(err, fmt.Errorf("the kernel has not unmounted %s after %v", m.path, teardownTimeout))
	}
	return err
}

func openFuse() (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	node, err := openNode(unix.S_IFCHR, miscMajor, fuseMinor) // as in a container
	if err != nil {
		return -1, err
	}
	defer node.Close()
	return unix.FcntlInt(node.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// mountDetached mounts a file system that is in no mount namespace, and returns its root.
func mountDetached(kind string, options [][2]string) (*os.File, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fd)
	for _, o := range options {
		if err := unix.FsconfigSetString(fd, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("option %s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fmt.Errorf("fsconfig: %w", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("fsmount: %w", err)
	}
	return os.NewFile(uintptr(mount), kind), nil
}
