package mountfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincoreWindow is the most that is mapped at once: 64 Ki pages of 4 KiB.
const mincoreWindow = 256 << 20

// CachedRanges returns the ranges of an open regular file that are in the page cache, in whole
// pages up to size. It neither reads nor caches anything. A page that is being read or written
// counts.
//
// On kernels without cachestat(2), before Linux 6.5, it leaves out pages of holes, and takes a second
// for some 100 GiB of data; when ctx ends, the error is its cause. It may move the file's offset.
//
// The caller must be root or the file's owner, else ErrPermission: to others mincore(2) reports
// every page as cached. (can_do_mincore in the kernel's mm/mincore.c, Linux 5.2)
func CachedRanges(ctx context.Context, f *os.File, size int64) ([]Range, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if euid := os.Geteuid(); euid != 0 && uint32(euid) != st.Uid {
		return nil, fmt.Errorf("page cache of %s: %w", f.Name(), os.ErrPermission)
	}
	c := cacheQuery{ctx: ctx, file: f, page: int64(os.Getpagesize()), counts: true}
	if err := c.find(Range{0, size}); err != nil {
		return nil, fmt.Errorf("page cache of %s: %w", f.Name(), err)
	}
	if n := len(c.found); n > 0 && c.found[n-1].End() > size {
		c.found[n-1].Length = size - c.found[n-1].Start
	}
	return c.found, nil
}

// cacheQuery finds the cached pages of one file.
type cacheQuery struct {
	ctx    context.Context
	file   *os.File
	page   int64 // bytes
	counts bool  // the kernel has cachestat
	pages  []byte
	found  []Range
}

// find appends the cached pages in r, whose start is that of a page. It halves a range that is
// cached in part until it fits into a window, so that a large sparse file takes few calls.
func (c *cacheQuery) find(r Range) error {
	if r.Length <= 0 {
		return nil
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	pages := (r.Length + c.page - 1) / c.page
	cached, err := c.count(r)
	switch {
	case err != nil:
		return err
	case c.counts && cached == 0:
		return nil
	case c.counts && cached >= pages:
		c.found = appendRange(c.found, Range{r.Start, pages * c.page})
		return nil
	case !c.counts:
		return c.windows(r)
	case r.Length <= mincoreWindow:
		return c.mincore(r)
	}
	half := pages / 2 * c.page
	if err := c.find(Range{r.Start, half}); err != nil {
		return err
	}
	return c.find(Range{r.Start + half, r.Length - half})
}

// windows appends the cached pages in r, of all of its data.
func (c *cacheQuery) windows(r Range) error {
	for end := r.End(); r.Start < end; {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		data, err := unix.Seek(int(c.file.Fd()), r.Start, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lseek: %w", err)
		}
		r.Start = data / c.page * c.page
		if r.Length = min(mincoreWindow, end-r.Start); r.Length <= 0 {
			return nil
		}
		if err := c.mincore(r); err != nil {
			return err
		}
		r.Start += r.Length
	}
	return nil
}

// count returns the number of cached pages in r by cachestat(2), Linux 6.5.
func (c *cacheQuery) count(r Range) (int64, error) {
	if !c.counts {
		return 0, nil
	}
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(c.file.Fd()), &unix.CachestatRange{Off: uint64(r.Start), Len: uint64(r.Length)}, &stat, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		c.counts = false // EPERM: a seccomp filter that does not know it
		return 0, nil
	}
	return int64(stat.Cache), err
}

// mincore appends the cached pages of a window. The mapping has no access rights, so nothing can
// fault its pages in.
func (c *cacheQuery) mincore(r Range) error {
	mapped, err := unix.Mmap(int(c.file.Fd()), r.Start, int(r.Length), unix.PROT_NONE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer unix.Munmap(mapped) //nolint:errcheck // it was mapped
	pages := int((r.Length + c.page - 1) / c.page)
	if len(c.pages) < pages {
		c.pages = make([]byte, pages)
	}
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(mapped))), uintptr(r.Length), uintptr(unsafe.Pointer(unsafe.SliceData(c.pages))))
	if errno != 0 {
		return fmt.Errorf("mincore: %w", errno)
	}
	for i, state := range c.pages[:pages] {
		if state&1 != 0 {
			c.found = appendRange(c.found, Range{r.Start + int64(i)*c.page, c.page})
		}
	}
	return nil
}
