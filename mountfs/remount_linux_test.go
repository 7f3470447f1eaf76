package mountfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shows returns the differences that the kernel's mount table has to these options.
func shows(t *testing.T, target string, options ...string) []string {
	t.Helper()
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	m, ok := MountAt(mounts, target)
	if !ok {
		t.Fatalf("%s is no mountpoint", target)
	}
	return OptionsDiffer(options, m)
}

func TestRemount(t *testing.T) {
	mountpoint := volume(t) // noatime, nosuid, nodev
	target := filepath.Join(t.TempDir(), "srv")
	unmountAfter(t, target)
	if _, err := Bind(mountpoint, "codepen", target, false); err != nil {
		t.Fatal(err)
	}
	if got := shows(t, mountpoint, "noatime", "nosuid", "nodev"); got != nil {
		t.Errorf("as mounted: %v", got)
	}
	if got := shows(t, mountpoint, "noexec", "nodev"); !slices.Equal(got, []string{"-nosuid", "+noexec", "-noatime", "+relatime"}) {
		t.Errorf("others: %v", got)
	}
	for _, options := range [][]string{{"noexec", "nodev"}, {"strictatime"}, {"ro", "nosymfollow"}, {"noatime", "nosuid", "nodev"}} {
		if err := Remount(mountpoint, options); err != nil {
			t.Fatal(err)
		}
		if got := shows(t, mountpoint, options...); got != nil {
			t.Errorf("remounted with %v: %v", options, got)
		}
		if got := shows(t, target, "noatime", "nosuid", "nodev"); got != nil {
			t.Errorf("the bind after %v of the mountpoint: %v", options, got)
		}
	}
}

// A writer keeps a mount writable, and the error says so.
func TestRemountBusy(t *testing.T) {
	mountpoint := volume(t)
	f, err := os.Create(filepath.Join(mountpoint, "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantError(t, Remount(mountpoint, []string{"ro"}), ErrBusy)
}

// A file system that was mounted read-only becomes writable.
func TestRemountWritable(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	mountpoint := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, mountpoint, "ro", "inode32")
	if got := shows(t, mountpoint, "relatime"); !slices.Equal(got, []string{"-ro"}) {
		t.Errorf("read-only: %v", got)
	}
	if err := Remount(mountpoint, []string{"relatime", "inode32"}); err != nil {
		t.Fatal(err)
	}
	if got := shows(t, mountpoint, "relatime"); got != nil {
		t.Errorf("writable: %v", got)
	}
	if err := os.WriteFile(filepath.Join(mountpoint, "file"), nil, 0o644); err != nil {
		t.Error(err)
	}
	mounts, err := Mounts()
	if m, _ := MountAt(mounts, mountpoint); err != nil || !slices.Contains(strings.Split(m.SuperOptions, ","), "inode32") {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestFileSystemOptions(t *testing.T) {
	got := FileSystemOptions([]string{"noatime", "ro", "lazytime", "logbufs=8", "nodev", "sync", "rw"})
	if !slices.Equal(got, []string{"lazytime", "logbufs=8", "sync"}) {
		t.Errorf("%v", got)
	}
}
