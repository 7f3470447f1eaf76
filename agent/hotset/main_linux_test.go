package hotset

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"snapsource/mountfs"
	"snapsource/mountfs/looptest"
)

const (
	page = 4096
	mib  = 1 << 20
)

func TestMain(m *testing.M) {
	mountfs.RunGuard() // Record freezes
	looptest.PrivateMounts()
	os.Exit(m.Run())
}

// volume is a mounted XFS.
type volume struct {
	t          *testing.T
	node       string
	mountpoint string
}

func newVolume(t *testing.T, size int64) volume {
	t.Helper()
	looptest.NeedRoot(t)
	node, _ := looptest.Device(t, size)
	if out, err := exec.Command("mkfs.xfs", "-q", node).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v\n%s", err, out)
	}
	v := volume{t, node, filepath.Join(t.TempDir(), "cp")}
	if err := os.Mkdir(v.mountpoint, 0); err != nil {
		t.Fatal(err)
	}
	v.mount(0)
	t.Cleanup(func() {
		for unix.Unmount(v.mountpoint, unix.UMOUNT_NOFOLLOW) == nil {
		}
	})
	return v
}

func (v volume) mount(flags uintptr) {
	v.t.Helper()
	if err := unix.Mount(v.node, v.mountpoint, "xfs", flags|unix.MS_NOATIME, ""); err != nil {
		v.t.Fatal(err)
	}
}

func (v volume) remount() {
	v.t.Helper()
	v.unmount()
	v.mount(0)
}

func (v volume) unmount() {
	v.t.Helper()
	if err := unix.Unmount(v.mountpoint, 0); err != nil {
		v.t.Fatal(err)
	}
}

func (v volume) path(name string) string { return filepath.Join(v.mountpoint, name) }

// write makes a file of random bytes, and the directories above it.
func (v volume) write(name string, size int) {
	v.t.Helper()
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	if err := os.MkdirAll(filepath.Dir(v.path(name)), 0o755); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(v.path(name), b, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

// cool removes all files from the page cache.
func (v volume) cool() {
	v.t.Helper()
	if err := mountfs.Flush(v.mountpoint); err != nil {
		v.t.Fatal(err)
	}
	err := filepath.WalkDir(v.mountpoint, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// read reads a range of a file into the page cache, without readahead.
func (v volume) read(name string, from, n int64) {
	v.t.Helper()
	f, err := os.Open(v.path(name))
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		v.t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, n), from); err != nil {
		v.t.Fatal(err)
	}
}

func (v volume) record(o Options) Summary {
	v.t.Helper()
	s, err := Record(v.t.Context(), v.mountpoint, o)
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

func (v volume) load() Set {
	v.t.Helper()
	s, ok, err := Load(v.mountpoint, v.size())
	if err != nil || !ok {
		v.t.Fatalf("record: %v, %v", ok, err)
	}
	return s
}

func (v volume) size() int64 {
	v.t.Helper()
	g, err := mountfs.Geometry(v.mountpoint)
	if err != nil {
		v.t.Fatal(err)
	}
	return g.Size()
}

// wantFiles checks the paths in the record and that their blocks hold what the files do.
func (v volume) wantFiles(s Set, paths ...string) {
	v.t.Helper()
	got := []string{}
	for _, f := range s.Files {
		got = append(got, f.Path)
		v.wantBlocks(f)
	}
	if fmt.Sprint(got) != fmt.Sprint(paths) {
		v.t.Errorf("files %q, want %q", got, paths)
	}
}

// wantBlocks reads the device where a file's ranges are to lie.
func (v volume) wantBlocks(file File) {
	v.t.Helper()
	device, err := os.Open(v.node)
	if err != nil {
		v.t.Fatal(err)
	}
	defer device.Close()
	if err := unix.IoctlSetInt(int(device.Fd()), unix.BLKFLSBUF, 0); err != nil {
		v.t.Fatal(err)
	}
	f, err := os.Open(v.path(file.Path))
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	read := func(f *os.File, ranges []mountfs.Range) (all []byte) {
		for _, r := range ranges {
			b := make([]byte, r.Length)
			if _, err := f.ReadAt(b, r.Start); err != nil {
				v.t.Fatalf("%s: %v: %v", f.Name(), r, err)
			}
			all = append(all, b...)
		}
		return all
	}
	if !bytes.Equal(read(device, file.Blocks), read(f, file.Ranges)) {
		v.t.Errorf("%s: %v of it is not at %v", file.Path, file.Ranges, file.Blocks)
	}
}
