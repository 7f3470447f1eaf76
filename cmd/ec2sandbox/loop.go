//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	loopMajor   = 7  // Linux devices.txt
	miscMajor   = 10 // Linux devices.txt
	loopControl = 237
)

// loopTries bounds the attempts to get a free loop device: another process may take the
// returned one first, or may not have released it yet.
const (
	loopTries = 64
	loopPause = 10 * time.Millisecond // before the next try
)

// loop is a loop device for a volume's image in one instance's /dev.
type loop struct {
	number int
	image  string
	dev    string   // the instance's /dev as seen from here
	links  []string // in dev
	// hold keeps the device from clearing itself. It is nil during a detach: then the
	// device is cleared when its last user closes it. It is opened read-only, as a writer
	// could keep others from mounting the device.
	hold io.Closer
	lazy *lazyDisk // what is behind the device; nil: the image itself
}

// opener opens what is behind the loop device of a number, and returns flags for it.
type opener func(number int) (file *os.File, flags uint32, err error)

func openImage(image string) opener {
	return func(int) (*os.File, uint32, error) {
		file, err := os.OpenFile(image, os.O_RDWR, 0)
		return file, 0, err
	}
}

// attachLoop creates a loop device for a volume's image, opened by open, in dev, the /dev of an
// instance. It creates the links before the device has data, so that the kernel's change event finds
// them, as with a udev rule.
func attachLoop(dev, image, volumeID string, open opener) (*loop, error) {
	if err := awaitUnused(image); err != nil {
		return nil, err
	}
	for range loopTries {
		number, err := freeLoop()
		if err != nil {
			return nil, fmt.Errorf("attach %s: %w", volumeID, err)
		}
		l := &loop{number: number, image: image, dev: dev}
		err = l.configure(open, volumeID)
		if err == nil {
			return l, nil
		}
		err = errors.Join(err, l.removeLinks(), l.removeNode())
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s as loop%d: %w", volumeID, number, err)
		}
		time.Sleep(loopPause)
	}
	return nil, fmt.Errorf("attach %s: other processes took each of %d free loop devices", volumeID, loopTries)
}

func (l *loop) node() string { return filepath.Join(l.dev, "loop"+strconv.Itoa(l.number)) }

func (l *loop) configure(open opener, volumeID string) error {
	err := unix.Mknod(l.node(), unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(l.number))))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make node: %w", err)
	}
	if err := os.Chmod(l.node(), 0o660); err != nil { // whatever the umask is
		return fmt.Errorf("make node: %w", err)
	}
	device, err := os.OpenFile(l.node(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	image, flags, err := open(l.number)
	if err != nil {
		return err
	}
	defer image.Close() // the kernel keeps it open
	if l.hold, err = l.keep(flags&unix.LO_FLAGS_DIRECT_IO != 0); err != nil {
		return err
	}
	if err := l.link(volumeID); err != nil {
		return errors.Join(err, l.hold.Close())
	}
	config := unix.LoopConfig{Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | flags}}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], image.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return errors.Join(fmt.Errorf("configure: %w", err), l.hold.Close())
	}
	return nil
}

// keep opens the device, here or in a process of its own.
func (l *loop) keep(apart bool) (io.Closer, error) {
	hold, err := os.Open(l.node())
	if err != nil || !apart {
		return hold, err
	}
	defer hold.Close()
	return keep(hold)
}

// link creates the names of systemd's udev rules for a volume: with and without the NVMe
// namespace (rules.d/60-persistent-storage.rules).
func (l *loop) link(volumeID string) error {
	name := "disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(volumeID, "-", "")
	for _, name := range []string{name, name + "_1"} {
		path := filepath.Join(l.dev, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink("../../"+filepath.Base(l.node()), path); err != nil {
			return err
		}
		l.links = append(l.links, path)
	}
	return nil
}

// resize has the kernel read the size of the image again. Without a change it does nothing.
func (l *loop) resize() error {
	if l.hold == nil {
		return nil
	}
	if l.lazy != nil {
		if err := l.lazy.mount.refresh(); err != nil {
			return err
		}
		// Our process opens the device as rarely as possible; see keeper.
		if same, err := l.isSize(l.lazy.volume); err != nil || same {
			return err
		}
	}
	device, err := os.Open(l.node())
	if err != nil {
		return err
	}
	defer device.Close()
	_, err = unix.IoctlRetInt(int(device.Fd()), unix.LOOP_SET_CAPACITY)
	return err
}

// isSize says whether the device is as large as a volume.
func (l *loop) isSize(v *lazyVolume) (bool, error) {
	want, err := v.size()
	if err != nil {
		return false, err
	}
	sectors, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/size", l.number))
	if err != nil {
		return false, err
	}
	return strings.TrimSpace(string(sectors)) == strconv.FormatInt(want/512, 10), nil
}

// release removes the names and closes the device.
func (l *loop) release() error {
	err := l.removeLinks()
	if l.hold != nil {
		err = errors.Join(err, l.hold.Close())
		l.hold = nil
	}
	return err
}

// gone says whether the kernel has released the image. The device may have another user by
// then.
func (l *loop) gone() bool {
	shown, err := os.ReadFile(backingFile(l.number))
	return err != nil || !strings.HasPrefix(string(shown), l.image) // "… (deleted)" is the image too
}

func (l *loop) removeLinks() error {
	var errs []error
	for _, link := range l.links {
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	l.links = nil
	return errors.Join(errs...)
}

func (l *loop) removeNode() error {
	if err := os.Remove(l.node()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// end ends what is behind a device that is gone.
func (l *loop) end() error {
	if l.lazy == nil {
		return nil
	}
	return l.lazy.close()
}

func backingFile(number int) string {
	return fmt.Sprintf("/sys/block/loop%d/loop/backing_file", number)
}

// awaitUnused waits until no loop device uses an image: the kernel clears the device of a
// killed instance only after it has unmounted it. Two devices on one image would corrupt
// it.
func awaitUnused(image string) error {
	deadline := time.Now().Add(teardownTimeout)
	for {
		number, used, err := loopOf(image)
		if err != nil || !used {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is still in use as loop%d", image, number)
		}
		time.Sleep(backingPoll)
	}
}

// backingPoll is the poll interval in sysfs for a cleared device. The kernel sends its
// event only to the initial network namespace, and this process need not run there.
const backingPoll = 10 * time.Millisecond

// loopOf returns the loop device of an image.
func loopOf(image string) (number int, used bool, err error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return 0, false, fmt.Errorf("list loop devices: %w", err)
	}
	for _, file := range files {
		shown, err := os.ReadFile(file)
		if err != nil {
			continue // it has just been cleared
		}
		if strings.TrimSuffix(string(shown), "\n") == image {
			_, err := fmt.Sscanf(file, "/sys/block/loop%d/", &number)
			return number, true, err
		}
	}
	return 0, false, nil
}

// freeLoop returns the number of an unused loop device.
func freeLoop() (int, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // as in a container
		control, err = openNode(unix.S_IFCHR, miscMajor, loopControl)
	}
	if err != nil {
		return 0, fmt.Errorf("ask for a free loop device: %w", err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0, fmt.Errorf("ask for a free loop device: %w", err)
	}
	return number, nil
}

// openNode opens a device without a node here, through a temporary node.
func openNode(kind, major, minor uint32) (*os.File, error) {
	dir, err := os.MkdirTemp("/dev", ".ec2sandbox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "node")
	if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}
