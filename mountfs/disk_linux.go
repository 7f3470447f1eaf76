package mountfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is an open and locked device.
type Disk struct {
	device Device
	file   *os.File // read-only, holds the lock
}

const (
	// udevLockWait bounds the wait for udev, which holds the lock for the milliseconds in
	// which it probes a new disk.
	udevLockWait = 5 * time.Second
	lockPoll     = 10 * time.Millisecond
)

// OpenDisk opens an unused device, verifies that it still is the one that Find returned,
// and takes the lock of udev's convention (https://systemd.io/BLOCK_DEVICE_LOCKING):
// programs that respect it, such as udev and partitioning tools, leave the disk alone until
// Close.
//
// Errors: ErrBusy when the device is mounted or held, ErrWrongDevice when the node is
// another device now.
func OpenDisk(d Device) (*Disk, error) {
	fd, err := unix.Open(d.Node, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.Node, err)
	}
	disk := &Disk{device: d, file: os.NewFile(uintptr(fd), d.Node)}
	for _, check := range []func() error{disk.verify, disk.lock, disk.checkUnused} {
		if err := check(); err != nil {
			disk.Close()
			return nil, fmt.Errorf("open %s: %w", d.Node, err)
		}
	}
	return disk, nil
}

// Close releases the lock and closes the device.
func (d *Disk) Close() error { return d.file.Close() }

// Probe reports the contents of the device. See the function [Probe].
func (d *Disk) Probe(ours string) (Contents, error) {
	c, err := Probe(d.file, d.device.Size, ours)
	if err != nil {
		return c, fmt.Errorf("%s: %w", d.device.Node, err)
	}
	return c, nil
}

// verify compares the open device with the one that Find returned.
func (d *Disk) verify() error {
	fd := int(d.file.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return fmt.Errorf("%w: not a block device", ErrWrongDevice)
	}
	if major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev); major != d.device.Major || minor != d.device.Minor {
		return fmt.Errorf("%w: it is %d:%d now, but was %d:%d", ErrWrongDevice, major, minor, d.device.Major, d.device.Minor)
	}
	size, err := unix.IoctlGetInt(fd, unix.BLKGETSIZE64)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if int64(size) != d.device.Size {
		return fmt.Errorf("%w: it has %d bytes now, but had %d", ErrWrongDevice, size, d.device.Size)
	}
	if d.device.Seq == 0 {
		return nil
	}
	seq, err := unix.IoctlGetInt(fd, unix.BLKGETDISKSEQ)
	if err != nil {
		return fmt.Errorf("disk sequence number: %w", err)
	}
	if uint64(seq) != d.device.Seq {
		return fmt.Errorf("%w: the node belongs to another disk now", ErrWrongDevice)
	}
	return nil
}

// lock takes udev's lock. It polls: no event reports that a flock is released.
func (d *Disk) lock() error {
	fd := int(d.file.Fd())
	for end := time.Now().Add(udevLockWait); ; time.Sleep(lockPoll) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock: %w", err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: another program has had it locked for %v", ErrBusy, udevLockWait)
		}
	}
}

// checkUnused checks that nobody holds the device: no file system, device mapper, RAID or
// program. It does not keep the device open exclusively, since mkfs.xfs and mount(2) have
// to.
func (d *Disk) checkUnused() error {
	// Through the descriptor, so that it is the verified device.
	fd, err := unix.Open(procFD(int(d.file.Fd())), unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %s", ErrBusy, d.user())
	}
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// user describes who uses the device, as far as this namespace shows it.
func (d *Disk) user() string {
	var users []string
	if mounts, err := Mounts(); err == nil {
		for _, m := range d.device.mounts(mounts) {
			users = append(users, "mounted at "+m.Target)
		}
	}
	holders, _ := filepath.Glob(filepath.Join("/sys/block", filepath.Base(d.device.Node), "holders/*"))
	for _, h := range holders {
		users = append(users, "held by "+filepath.Base(h))
	}
	if len(users) == 0 {
		return "held, but not by a mount in this namespace: another mount namespace, a file system unmounted while frozen, or a program"
	}
	slices.Sort(users)
	return strings.Join(users, ", ")
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
