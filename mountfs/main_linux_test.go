package mountfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"snapsource/mountfs/looptest"
)

const (
	mib = 1 << 20
	// testSize is a little above the least that mkfs.xfs takes.
	testSize = 320 * mib
)

func TestMain(m *testing.M) {
	if path := os.Getenv(claimEnv); path != "" {
		claimAndWait(path)
	}
	looptest.PrivateMounts()
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	looptest.NeedRoot(t)
}

// needTool returns the path of a program that only tests use.
func needTool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("needs the program %s", name)
	return ""
}

func runTool(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(needTool(t, name), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// device returns the Device of a loop node, as Find would.
func device(t testing.TB, node string) Device {
	t.Helper()
	d, err := thisHost().device(filepath.Base(node), "link")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// loopDevice returns a blank device.
func loopDevice(t testing.TB, size int64) (Device, string) {
	t.Helper()
	node, image := looptest.Device(t, size)
	return device(t, node), image
}

// xfsDevice returns a device with an XFS on it.
func xfsDevice(t testing.TB, size int64, uuid string) (Device, string) {
	t.Helper()
	d, image := loopDevice(t, size)
	format(t, d, uuid)
	return d, image
}

func format(t testing.TB, d Device, uuid string) {
	t.Helper()
	disk := openDisk(t, d)
	defer disk.Close()
	if err := disk.Format(context.Background(), Format{UUID: uuid, Label: "codepen-app"}); err != nil {
		t.Fatal(err)
	}
}

func openDisk(t testing.TB, d Device) *Disk {
	t.Helper()
	disk, err := OpenDisk(d)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// mountXFS mounts for the test's time.
func mountXFS(t testing.TB, d Device, target string, options ...string) XFSMount {
	t.Helper()
	m, err := MountXFS(d, target, options)
	if err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, target)
	return m
}

// unmountAfter unmounts all that is left at target when the test ends.
func unmountAfter(t testing.TB, target string) {
	t.Cleanup(func() {
		for unix.Unmount(target, unix.UMOUNT_NOFOLLOW) == nil {
		}
	})
}

// sum is what a loop device holds: the SHA-256 of all its chunks that are not
// zero, found by the extents of its file.
func sum(t testing.TB, node string) string {
	t.Helper()
	loop, err := os.Open(node)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	if err := loop.Sync(); err != nil {
		t.Fatal(err)
	}
	backing, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(node), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(string(bytes.TrimSpace(backing)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h := sha256.New()
	b := make([]byte, 64<<10)
	for off := int64(0); ; {
		data, err := file.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Sprintf("%x", h.Sum(nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		off = data &^ int64(len(b)-1)
		n, err := file.ReadAt(b, off)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if !bytes.Equal(b[:n], zeros(n)) {
			fmt.Fprintln(h, off, n)
			h.Write(b[:n])
		}
		off += int64(n)
	}
}

// poke writes into a device.
func poke(t testing.TB, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func peek(t testing.TB, path string, off int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

func zeros(n int) []byte { return make([]byte, n) }

// work makes files, each on the disk before the next.
func work(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		f, err := os.CreateTemp(dir, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// copied returns the image as it is at this moment, as a snapshot would.
func copied(t *testing.T, image string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.img")
	runTool(t, "cp", "--sparse=always", image, path)
	return path
}

func unmount(t *testing.T, target string) {
	t.Helper()
	if err := Unmount(target); err != nil {
		t.Fatal(err)
	}
}
