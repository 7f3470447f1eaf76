package mountfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Reader reads a device past the page cache: its reads evict nothing that applications use,
// and reach the device even if the data is in memory.
type Reader struct {
	device Device
	file   *os.File
}

// OpenReader opens a device, which may be mounted, for direct reads. ErrWrongDevice: the node
// is another device now.
func OpenReader(d Device) (*Reader, error) {
	fd, err := unix.Open(d.Node, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.Node, err)
	}
	r := &Reader{d, os.NewFile(uintptr(fd), d.Node)}
	if err := (&Disk{device: d, file: r.file}).verify(); err != nil {
		r.Close()
		return nil, fmt.Errorf("open %s: %w", d.Node, err)
	}
	return r, nil
}

// Close closes the device.
func (r *Reader) Close() error { return r.file.Close() }

// ReadAt reads len(b) bytes. Offset and length are multiples of [ReadAlignment], and b is
// memory of [ReadBuffer]. A read of a device that was detached fails with EIO or ENXIO.
func (r *Reader) ReadAt(b []byte, offset int64) (int, error) {
	n, err := r.file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) { // a device that is gone has no size
		err = unix.ENXIO
	}
	return n, err
}

// Activity returns how many reads the device has completed for everybody, and their bytes.
// (Documentation/block/stat.rst)
func (r *Reader) Activity() (reads, bytes int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", r.device.Major, r.device.Minor))
	if err != nil {
		return 0, 0, err
	}
	const sector = 512
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0, 0, fmt.Errorf("%s: %q is not the statistics of a block device", r.device.Node, text)
	}
	reads, err = strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	sectors, err := strconv.ParseInt(fields[2], 10, 64)
	return reads, sectors * sector, err
}

// ReadBuffer returns memory for direct reads; free releases it. It is aligned to pages, which
// every device accepts.
func ReadBuffer(size int) (b []byte, free func(), err error) {
	b, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, fmt.Errorf("allocate %d bytes: %w", size, err)
	}
	return b, func() { _ = unix.Munmap(b) }, nil
}

// The classes of I/O priorities. (ioprio_set(2))
const (
	ioprioWhoProcess = 1
	ioprioClassShift = 13
	ioprioBestEffort = 2<<ioprioClassShift | 7 // the lowest of its class
	ioprioIdle       = 3 << ioprioClassShift
)

// LowerIOPriority gives the calling thread the lowest I/O priority, or with idle that of a
// thread that reads when nobody else does. Only the schedulers bfq and mq-deadline heed it;
// NVMe devices usually have none.
func LowerIOPriority(idle bool) error {
	priority := ioprioBestEffort
	if idle {
		priority = ioprioIdle
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, uintptr(priority)); errno != 0 {
		return fmt.Errorf("ioprio_set: %w", errno)
	}
	return nil
}
