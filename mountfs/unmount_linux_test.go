package mountfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnmountBusy(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	target := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, target)
	f, err := os.Create(filepath.Join(target, "open"))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Unmount(target), ErrBusy)
	f.Close()
	if err := Unmount(target); err != nil {
		t.Error(err)
	}
}

// What was mounted on an open directory is undone by that directory.
func TestUnmountDir(t *testing.T) {
	needRoot(t)
	target := t.TempDir()
	dir, err := openDir(target)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Mount("tmpfs", target, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, target)
	if err := unmountDir(dir, target); err != nil {
		t.Error(err)
	}
	if found, err := InspectTarget(target); err != nil || found.State != Empty {
		t.Errorf("%+v, %v", found, err)
	}
}
