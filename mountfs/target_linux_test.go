package mountfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// mountTarget is a state of a mountpoint, and the error of a mount there.
type mountTarget struct {
	name  string
	make  func(path string)
	state TargetState
	err   error
}

func mountTargets(t *testing.T) []mountTarget {
	mkdir := func(path string) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []mountTarget{
		{"absent", func(string) {}, Absent, nil},
		{"empty", mkdir, Empty, nil},
		{"empty, mode 000", func(p string) { mkdir(p); os.Chmod(p, 0) }, Empty, nil},
		{"not empty", func(p string) { mkdir(p + "/x") }, Occupied, ErrTarget},
		{"file", func(p string) { os.WriteFile(p, nil, 0o644) }, Unusable, ErrTarget},
		{"link", func(p string) { mkdir(p + ".d"); os.Symlink(p+".d", p) }, Unusable, ErrTarget},
		{"dangling link", func(p string) { os.Symlink("nowhere", p) }, Unusable, ErrTarget},
		{"other mount", func(p string) {
			mkdir(p)
			if err := unix.Mount("tmpfs", p, "tmpfs", 0, "size=64k"); err != nil {
				t.Fatal(err)
			}
			unmountAfter(t, p)
		}, Mounted, ErrTarget},
	}
}

func TestMountTargets(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	for _, test := range mountTargets(t) {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cp")
			test.make(path)
			before, _ := os.Lstat(path)
			found, err := InspectTarget(path)
			if err != nil || found.State != test.state {
				t.Fatalf("%+v, %v", found, err)
			}
			if after, _ := os.Lstat(path); (before == nil) != (after == nil) || after != nil && after.Mode() != before.Mode() {
				t.Error("looking changed it")
			}
			_, err = MountXFS(d, path, nil)
			unmountAfter(t, path)
			if test.err != nil {
				wantError(t, err, test.err)
				if after, _ := os.Lstat(path); after.Mode() != before.Mode() {
					t.Error("refused, and changed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := Unmount(path); err != nil {
				t.Fatal(err)
			}
			if got := mode(t, path); got != 0 {
				t.Errorf("below the mount: mode %03o", got)
			}
		})
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "/", "cp", "/a/../b", "/a/", link + "/cp"} {
		if _, err := MountXFS(d, bad, nil); !errors.Is(err, ErrTarget) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A mount that another mount on a directory above hides is not there.
func TestLookTargetHidden(t *testing.T) {
	needRoot(t)
	above := filepath.Join(t.TempDir(), "above")
	target := filepath.Join(above, "cp")
	for _, path := range []string{target, above} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	if found, err := InspectTarget(target); err != nil || found.State != Absent {
		t.Errorf("%+v, %v", found, err)
	}
	if err := os.Mkdir(target, 0); err != nil {
		t.Fatal(err)
	}
	if found, err := InspectTarget(target); err != nil || found.State != Empty {
		t.Errorf("%+v, %v", found, err)
	}
}
