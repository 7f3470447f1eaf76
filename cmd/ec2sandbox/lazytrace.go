//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracePages is the size of the buffer of each processor: some 2,500 events, which are read
// at each request.
const tracePages = 64

// trace sees who gives requests to a block device: neither a loop device nor FUSE passes that
// on. It reads the kernel's tracepoint block:block_bio_queue by perf_event_open(2), which ends
// with us and leaves nothing behind.
type trace struct {
	fields traceFields

	mu      sync.Mutex
	rings   []ring
	pending []bio // not yet seen as requests to us
}

// bio is a part of a device that a process reads or writes.
type bio struct {
	start, end int64 // bytes
	write      bool
	pid        int
	comm       string
}

// maxPending bounds the events without a request, such as those that were merged with others.
const maxPending = 4096

// traceFields are the offsets of the tracepoint's fields.
type traceFields struct{ sector, sectors, rwbs, comm int }

// newTrace traces a block device until it is closed.
func newTrace(major, minor uint32) (*trace, error) {
	id, fields, err := tracepoint()
	if err != nil {
		return nil, fmt.Errorf("find the tracepoint block_bio_queue: %w", err)
	}
	processors, err := online()
	if err != nil {
		return nil, err
	}
	t := &trace{fields: fields}
	for _, cpu := range processors {
		r, err := openRing(id, cpu, fmt.Sprintf("dev == %d", major<<20|minor)) // MKDEV, include/linux/kdev_t.h
		if err != nil {
			return nil, errors.Join(fmt.Errorf("trace processor %d: %w", cpu, err), t.Close())
		}
		t.rings = append(t.rings, r)
	}
	return t, nil
}

// tracepoint returns the number of the tracepoint and its fields.
func tracepoint() (id uint64, fields traceFields, err error) {
	root, err := mountDetached("tracefs", nil)
	if err != nil {
		return 0, fields, err
	}
	defer root.Close()
	number, err := readAt(root, "events/block/block_bio_queue/id")
	if err == nil {
		id, err = strconv.ParseUint(strings.TrimSpace(number), 10, 64)
	}
	if err != nil {
		return 0, fields, err
	}
	format, err := readAt(root, "events/block/block_bio_queue/format")
	if err != nil {
		return 0, fields, err
	}
	for name, offset := range map[string]*int{"sector": &fields.sector, "nr_sector": &fields.sectors, "rwbs": &fields.rwbs, "comm": &fields.comm} {
		if *offset, err = fieldOffset(format, name); err != nil {
			return 0, fields, err
		}
	}
	return id, fields, nil
}

func readAt(root *os.File, path string) (string, error) {
	fd, err := unix.Openat(int(root.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	buf := make([]byte, 16<<10)
	n, err := f.Read(buf)
	return string(buf[:n]), err
}

// fieldOffset finds a field in the format of a tracepoint, such as
// "field:sector_t sector;	offset:16;	size:8;	signed:0;".
func fieldOffset(format, name string) (int, error) {
	for _, line := range strings.Split(format, "\n") {
		declaration, rest, has := strings.Cut(line, ";\toffset:")
		words := strings.Fields(declaration)
		if !has || len(words) == 0 {
			continue
		}
		if field, _, _ := strings.Cut(words[len(words)-1], "["); field == name {
			number, _, _ := strings.Cut(rest, ";")
			return strconv.Atoi(number)
		}
	}
	return 0, fmt.Errorf("the tracepoint has no field %s", name)
}

// online returns the numbers of the processors.
func online() ([]int, error) {
	list, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("list the processors: %w", err)
	}
	var all []int
	for _, part := range strings.Split(strings.TrimSpace(string(list)), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("list the processors: %w", err)
		}
		for n := from; n <= to; n++ {
			all = append(all, n)
		}
	}
	return all, nil
}

// match returns the process behind a request, and forgets that part of what it asked for. A
// bio is traced before it becomes a request.
func (t *trace) match(offset int64, length int, write bool) (bio, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.rings {
		t.rings[n].drain(func(pid int, raw []byte) { t.add(pid, raw) })
	}
	end := offset + int64(length)
	var found bio
	rest := t.pending[:0]
	for _, b := range t.pending {
		if b.write != write || b.end <= offset || end <= b.start {
			rest = append(rest, b)
			continue
		}
		if found.end == 0 {
			found = b
		}
		switch { // what other requests are for stays
		case b.start < offset && end < b.end:
			tail := b
			tail.start, b.end = end, offset
			rest = append(rest, b, tail)
		case b.start < offset:
			b.end = offset
			rest = append(rest, b)
		case end < b.end:
			b.start = end
			rest = append(rest, b)
		}
	}
	t.pending = rest[max(0, len(rest)-maxPending):]
	return found, found.end > 0
}

func (t *trace) add(pid int, raw []byte) {
	f := t.fields
	if len(raw) < max(f.sector+8, f.sectors+4, f.rwbs+2, f.comm+1) {
		return
	}
	start := int64(binary.NativeEndian.Uint64(raw[f.sector:])) * 512
	sectors := int64(binary.NativeEndian.Uint32(raw[f.sectors:]))
	// "R", "W", with an F before it if a flush comes first, and other letters after it; a D is a
	// discard. (kernel/trace/blktrace.c, blk_fill_rwbs)
	kind := strings.TrimPrefix(string(raw[f.rwbs:f.rwbs+2]), "F")
	if sectors == 0 || kind == "" || kind[0] != 'R' && kind[0] != 'W' {
		return
	}
	comm, _, _ := strings.Cut(string(raw[f.comm:min(len(raw), f.comm+16)]), "\x00")
	t.pending = append(t.pending, bio{start, start + sectors*512, kind[0] == 'W', pid, comm})
}

// Close ends the trace.
func (t *trace) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, r := range t.rings {
		errs = append(errs, r.close())
	}
	t.rings, t.pending = nil, nil
	return errors.Join(errs...)
}

// ring is the buffer of the events on one processor. (perf_event_open(2))
type ring struct {
	fd     int
	mapped []byte
}

func openRing(tracepoint uint64, cpu int, filter string) (ring, error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_TRACEPOINT, Config: tracepoint, Sample: 1, // each
		Sample_type: unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_RAW,
	}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return ring{}, fmt.Errorf("perf_event_open: %w", err)
	}
	text, err := unix.BytePtrFromString(filter)
	if err != nil {
		return ring{}, errors.Join(err, unix.Close(fd))
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PERF_EVENT_IOC_SET_FILTER, uintptr(unsafe.Pointer(text))); errno != 0 {
		return ring{}, errors.Join(fmt.Errorf("filter %q: %w", filter, errno), unix.Close(fd))
	}
	mapped, err := unix.Mmap(fd, 0, (1+tracePages)*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return ring{}, errors.Join(fmt.Errorf("map the buffer: %w", err), unix.Close(fd))
	}
	return ring{fd, mapped}, nil
}

// drain passes on each event in the buffer.
func (r *ring) drain(see func(pid int, raw []byte)) {
	page := (*unix.PerfEventMmapPage)(unsafe.Pointer(&r.mapped[0]))
	data := r.mapped[os.Getpagesize():]
	head, tail := atomic.LoadUint64(&page.Data_head), page.Data_tail
	for tail < head {
		header := wrapped(data, tail, 8) // struct perf_event_header: type, misc, size
		size := uint64(binary.NativeEndian.Uint16(header[6:]))
		if size < 8 {
			tail = head
			break
		}
		if binary.NativeEndian.Uint32(header) == unix.PERF_RECORD_SAMPLE && size >= 20 {
			event := wrapped(data, tail, size)[8:] // pid, tid, size of raw, raw
			raw := event[12:]
			if n := int(binary.NativeEndian.Uint32(event[8:])); n <= len(raw) {
				see(int(binary.NativeEndian.Uint32(event)), raw[:n])
			}
		}
		tail += size
	}
	atomic.StoreUint64(&page.Data_tail, tail)
}

// wrapped returns n bytes of a ring buffer.
func wrapped(data []byte, at, n uint64) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = data[(at+uint64(i))%uint64(len(data))]
	}
	return out
}

func (r *ring) close() error {
	return errors.Join(unix.Munmap(r.mapped), unix.Close(r.fd))
}
