package mountfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const isImmutable = 0x10 // FS_IMMUTABLE_FL

// immutable sets or removes the immutable flag of a directory.
func immutable(t *testing.T, dir string, flags int) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
		t.Fatal(err)
	}
}

// A directory that even root can't create or prepare is found before anything is mounted.
func TestProtectedTarget(t *testing.T) {
	mountpoint := volume(t)
	dir := filepath.Join(mountpoint, "etc")
	for _, sub := range []string{"open", "closed"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "closed"), 0); err != nil {
		t.Fatal(err)
	}
	immutable(t, filepath.Join(dir, "open"), isImmutable)
	immutable(t, dir, isImmutable)
	want := func(target string, state TargetState, detail string) {
		t.Helper()
		got, err := InspectTarget(filepath.Join(dir, target))
		if err != nil || got.State != state || !strings.Contains(got.Detail, detail) {
			t.Errorf("%s: %+v, %v; want %v, %q", target, got, err, state, detail)
		}
	}
	want("home/deploy", Protected, "can't be created: "+dir+" is immutable")
	want("open", Protected, "mode 755 can't be set to 000: it is immutable (lsattr -d "+dir+"/open)")
	want("closed", Empty, "")
	d, _ := xfsDevice(t, testSize, UUIDFor("vol-0123456789abcdef1"))
	_, err := MountXFS(d, filepath.Join(dir, "home/deploy"), nil)
	wantError(t, err, ErrProtected)

	immutable(t, dir, 0)
	immutable(t, filepath.Join(dir, "open"), 0)
	want("home/deploy", Absent, "")
	if err := Remount(mountpoint, []string{"ro"}); err != nil {
		t.Fatal(err)
	}
	want("home/deploy", Protected, "on a read-only file system")
	want("closed", Empty, "")
}

func TestMissingTarget(t *testing.T) {
	dir := t.TempDir()
	got, err := InspectTarget(filepath.Join(dir, "home/deploy/codepen"))
	if err != nil || got.State != Absent || got.Missing != filepath.Join(dir, "home") {
		t.Errorf("%+v, %v", got, err)
	}
}

// A file system that the kernel has shut down is named as such by all that touches it.
func TestShutdown(t *testing.T) {
	mountpoint := volume(t)
	dir, err := os.Open(mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	const goingDown, noLogFlush = 0x8004587d, 2 // XFS_IOC_GOINGDOWN
	how := uint32(noLogFlush)
	if err := ioctl(dir, goingDown, unsafe.Pointer(&how)); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	_, err = InspectTarget(mountpoint)
	wantError(t, err, ErrShutdown)
	_, _, err = Grow(mountpoint, testSize)
	wantError(t, err, ErrShutdown)
	_, err = Bind(mountpoint, "codepen", filepath.Join(t.TempDir(), "target"), false)
	wantError(t, err, ErrShutdown)
	wantError(t, Remount(mountpoint, []string{"noexec"}), ErrShutdown)
	_, err = Freeze(mountpoint, 1e9, func() {})
	wantError(t, err, ErrShutdown)
	if err := Unmount(mountpoint); err != nil {
		t.Error(err)
	}
}
