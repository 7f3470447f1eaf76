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

// Disk is a device held while it is decided what to do with it.
type Disk struct {
	device Device
	file   *os.File // read-only, holds the lock
}

const (
	// udevLockWait bounds the wait for udev, which holds the lock for the
	// milliseconds it takes to look at a disk that just appeared.
	udevLockWait = 5 * time.Second
	lockPoll     = 10 * time.Millisecond
)

// OpenDisk opens a device that nobody uses, makes sure that it is still the
// one that Find saw, and locks it as udev's convention has it
// (https://systemd.io/BLOCK_DEVICE_LOCKING): others that keep it, like udev
// and partitioning programs, leave the disk alone until Close.
//
// Errors: ErrBusy when it is mounted or held, ErrWrongDevice when the node is
// another device now.
func OpenDisk(d Device) (*Disk, error) {
	fd, err := unix.Open(d.Node, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.Node, err)
	}
	disk := &Disk{device: d, file: os.NewFile(uintptr(fd), d.Node)}
	for _, check := range []func() error{disk.verify, disk.lock, disk.unused} {
		if err := check(); err != nil {
			disk.Close()
			return nil, fmt.Errorf("open %s: %w", d.Node, err)
		}
	}
	return disk, nil
}

// Close lets go of the device.
func (d *Disk) Close() error { return d.file.Close() }

// Probe tells what is on the device. See the function [Probe].
func (d *Disk) Probe(ours string) (Contents, error) {
	c, err := Probe(d.file, d.device.Size, ours)
	if err != nil {
		return c, fmt.Errorf("%s: %w", d.device.Node, err)
	}
	return c, nil
}

// verify compares the open device with what Find saw.
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
		return fmt.Errorf("%w: it is %d:%d now, and was %d:%d", ErrWrongDevice, major, minor, d.device.Major, d.device.Minor)
	}
	size, err := unix.IoctlGetInt(fd, unix.BLKGETSIZE64)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if int64(size) != d.device.Size {
		return fmt.Errorf("%w: it has %d bytes now, and had %d", ErrWrongDevice, size, d.device.Size)
	}
	if d.device.Seq == 0 {
		return nil
	}
	seq, err := unix.IoctlGetInt(fd, unix.BLKGETDISKSEQ)
	if err != nil {
		return fmt.Errorf("disk sequence number: %w", err)
	}
	if uint64(seq) != d.device.Seq {
		return fmt.Errorf("%w: the node was given to another disk", ErrWrongDevice)
	}
	return nil
}

// lock takes udev's lock. No event tells when a flock is free.
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

// unused asks the kernel whether anybody holds the device: a file system,
// device mapper, RAID, or a program. It does not keep it exclusively, since
// mkfs.xfs and mount(2) want that for themselves.
func (d *Disk) unused() error {
	// By the descriptor, so that it is the device that was verified.
	fd, err := unix.Open(procFD(int(d.file.Fd())), unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %s", ErrBusy, d.user())
	}
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// user says who uses the device, as far as it can be seen from here.
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
		return "held, and not by a mount seen from here: another mount namespace, a file system unmounted while frozen, or a program"
	}
	slices.Sort(users)
	return strings.Join(users, ", ")
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
