package mountfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// uncached makes a file that is not in the page cache, open without readahead.
func uncached(t *testing.T, path string, write func(*os.File)) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	write(f)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, advice := range []int{unix.FADV_DONTNEED, unix.FADV_RANDOM} {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, advice); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func touch(t *testing.T, f *os.File, offsets ...int64) {
	t.Helper()
	for _, at := range offsets {
		if _, err := f.ReadAt(make([]byte, 1), at); err != nil {
			t.Fatal(err)
		}
	}
}

// cachedBothWays returns the cached ranges, the same with cachestat and without.
func cachedBothWays(t *testing.T, f *os.File, size int64) []Range {
	t.Helper()
	got, err := CachedRanges(t.Context(), f, size)
	if err != nil {
		t.Fatal(err)
	}
	old := cacheQuery{ctx: t.Context(), file: f, page: int64(os.Getpagesize())}
	if err := old.find(Range{0, size}); err != nil {
		t.Fatal(err)
	}
	if n := len(old.found); n > 0 {
		old.found[n-1].Length = min(old.found[n-1].Length, size-old.found[n-1].Start)
	}
	wantRanges(t, "by mincore alone", old.found, got)
	return got
}

func TestCachedRanges(t *testing.T) {
	needRoot(t)
	_, mountpoint := formatted(t, testSize)
	const size = 300*4096 + 17
	f := uncached(t, filepath.Join(mountpoint, "file"), func(f *os.File) {
		if _, err := f.Write(bytes.Repeat([]byte{1}, size)); err != nil {
			t.Fatal(err)
		}
	})
	wantRanges(t, "nothing", cachedBothWays(t, f, size), nil)
	wantRanges(t, "still nothing", cachedBothWays(t, f, size), nil)
	touch(t, f, 5*4096, 7*4096+5, 8*4096, size-1)
	some := []Range{{5 * 4096, 4096}, {7 * 4096, 2 * 4096}, {300 * 4096, 17}}
	wantRanges(t, "some", cachedBothWays(t, f, size), some)
	wantRanges(t, "up to a size", cachedBothWays(t, f, 8*4096), []Range{{5 * 4096, 4096}, {7 * 4096, 4096}})
	wantRanges(t, "beyond the end", cachedBothWays(t, f, size+mib), []Range{some[0], some[1], {300 * 4096, 4096}})
	if _, err := f.ReadAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	wantRanges(t, "all", cachedBothWays(t, f, size), []Range{{0, size}})
	wantRanges(t, "of an empty file", cachedBothWays(t, f, 0), nil)
}

// TestCachedSparse: pages far apart in a file of 1 TiB.
func TestCachedSparse(t *testing.T) {
	needRoot(t)
	_, mountpoint := formatted(t, testSize)
	const size = 1 << 40
	at := []int64{0, mincoreWindow - 4096, mincoreWindow, 700 << 30, size - 4096}
	f := uncached(t, filepath.Join(mountpoint, "sparse"), func(f *os.File) {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
	})
	touch(t, f, at...)
	want := []Range{{0, 4096}, {mincoreWindow - 4096, 8192}, {700 << 30, 4096}, {size - 4096, 4096}}
	got, err := CachedRanges(t.Context(), f, size)
	if err != nil {
		t.Fatal(err)
	}
	wantRanges(t, fmt.Sprint(at), got, want)

	// Without cachestat what lies in holes is left out, quickly.
	if _, err := f.WriteAt([]byte("x"), 700<<30); err != nil {
		t.Fatal(err)
	}
	old := cacheQuery{ctx: t.Context(), file: f, page: 4096}
	if err := old.find(Range{0, size}); err != nil {
		t.Fatal(err)
	}
	if both := intersectRanges(old.found, want[2:3]); TotalLength(both) != 4096 {
		t.Errorf("%v, want the page at 700 GiB", old.found)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	old = cacheQuery{ctx: ctx, file: f, page: 4096}
	wantError(t, old.find(Range{0, size}), context.Canceled)
}
