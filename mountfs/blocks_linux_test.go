package mountfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// fiemap returns the written extents of a file by FS_IOC_FIEMAP, in the file's order.
// (include/uapi/linux/fiemap.h)
func fiemap(t *testing.T, f *os.File) (blocks []Range) {
	t.Helper()
	const request, unwritten, notAligned, last = 0xc020660b, 0x800, 0x100 | 0x2 | 0x4, 0x1
	type extent struct {
		logical, physical, length uint64
		_                         [2]uint64
		flags                     uint32
		_                         [3]uint32
	}
	var call struct {
		start, length               uint64
		flags, mapped, count, empty uint32
		extents                     [64]extent
	}
	for {
		call.length, call.count = ^uint64(0)-call.start, uint32(len(call.extents))
		if err := ioctl(f, request, unsafe.Pointer(&call)); err != nil {
			t.Fatal(err)
		}
		for _, e := range call.extents[:call.mapped] {
			if e.flags&(unwritten|notAligned) == 0 {
				blocks = appendRange(blocks, Range{int64(e.physical), int64(e.length)})
			}
			call.start = e.logical + e.length
			if e.flags&last != 0 {
				return blocks
			}
		}
		if call.mapped == 0 {
			return blocks
		}
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func wantRanges(t *testing.T, what string, got, want []Range) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func blocksOf(t *testing.T, f *os.File, of []Range) []Range {
	t.Helper()
	blocks, err := BlockRanges(f, of)
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// TestBlockRanges compares with FIEMAP and with the reverse mappings.
func TestBlockRanges(t *testing.T) {
	needRoot(t)
	_, mountpoint := formatted(t, testSize, "-m", "rmapbt=1,reflink=1")
	reflinks(t, mountpoint)
	smallFiles(t, mountpoint)
	mixed(t, filepath.Join(mountpoint, "mixed"))
	if err := Flush(mountpoint); err != nil {
		t.Fatal(err)
	}
	owned := map[uint64][]Range{}
	dir := open(t, mountpoint)
	err := dataExtents(dir, func(r fsmapRecord) {
		if r.flags&^uint32(0x8|fsmapLast) == 0 { // shared or not; neither attributes nor btree nor unwritten
			owned[r.owner] = append(owned[r.owner], Range{int64(r.physical), int64(r.length)})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "directory-0", "directory-7", "fragments", "fragments1", "plain2", "mixed"} {
		f := open(t, filepath.Join(mountpoint, name))
		got := blocksOf(t, f, nil)
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		wantRanges(t, name, MergeRanges(got), MergeRanges(owned[st.Ino]))
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			wantRanges(t, name+" by FIEMAP", got, fiemap(t, f))
		}
	}
}

// mixed writes a file with a hole, unwritten space, data, and delayed allocation at the end.
func mixed(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{1}, mib), mib); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 2*mib, mib); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{1}, 10), 4*mib); err != nil {
		t.Fatal(err)
	}
}

// TestBlockRangesOf: parts of a file, also such that begin within a block.
func TestBlockRangesOf(t *testing.T) {
	needRoot(t)
	_, mountpoint := formatted(t, testSize)
	path := filepath.Join(mountpoint, "mixed")
	mixed(t, path)
	f := open(t, path)
	if got := blocksOf(t, f, []Range{{4 * mib, mib}}); len(got) != 0 {
		t.Errorf("delayed allocation has blocks: %v", got)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	extents := fiemap(t, f)
	if TotalLength(extents) != mib+4096 || extents[0].Length < mib {
		t.Fatalf("not the file that was meant: %v", extents)
	}
	first := Range{extents[0].Start, mib}
	last := extents[len(extents)-1].End() - 4096
	for _, tc := range []struct{ of, want []Range }{
		{[]Range{}, nil},
		{[]Range{{0, mib}, {2 * mib, mib}, {8 * mib, mib}}, nil},
		{[]Range{{mib + 100, 10}}, []Range{{first.Start + 100, 10}}},
		{[]Range{{0, mib + 1}}, []Range{{first.Start, 1}}},
		{[]Range{{mib + 4096, 8192}, {2*mib - 1, 100}, {4 * mib, 4096}},
			[]Range{{first.Start + 4096, 8192}, {first.End() - 1, 1}, {last, 4096}}},
	} {
		wantRanges(t, fmt.Sprint(tc.of), blocksOf(t, f, tc.of), MergeRanges(tc.want)) // the two extents may touch
	}
}

// TestInodes: the range holds the inode.
func TestInodes(t *testing.T) {
	needRoot(t)
	for format, args := range spaceFormats {
		t.Run(format, func(t *testing.T) {
			d, mountpoint := formatted(t, testSize, args...)
			smallFiles(t, mountpoint)
			type inode struct {
				number uint64
				at     Range
			}
			var inodes []inode
			root := open(t, mountpoint)
			all, err := InodesOf(root)
			root.Close()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{".", "directory-39", "directory-39/a file with a long name, number 99", "directory-5/a file with a long name, number 1"} {
				f := open(t, filepath.Join(mountpoint, name))
				var st unix.Stat_t
				if err := unix.Fstat(int(f.Fd()), &st); err != nil {
					t.Fatal(err)
				}
				inodes = append(inodes, inode{st.Ino, all.Range(st.Ino)})
				f.Close()
			}
			unmount(t, mountpoint)
			for _, i := range inodes {
				b := peek(t, d.Node, i.at.Start, int(i.at.Length))
				if first := binary.BigEndian.Uint64(b[152:]); first != i.number&^(inodeCluster-1) {
					t.Errorf("inode %d: %v begins with inode %d", i.number, i.at, first)
				}
				found := false
				for ; len(b) >= 512; b = b[256:] {
					// di_magic and di_ino of version 3 (struct xfs_dinode)
					found = found || string(b[:2]) == "IN" && binary.BigEndian.Uint64(b[152:]) == i.number
				}
				if !found {
					t.Errorf("inode %d is not in %v", i.number, i.at)
				}
			}
		})
	}
}
