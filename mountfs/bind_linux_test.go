package mountfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// volume mounts an XFS with a directory codepen/shared on it.
func volume(t *testing.T) (mountpoint string) {
	t.Helper()
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	mountpoint = filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, mountpoint, "noatime", "nosuid", "nodev")
	if err := os.MkdirAll(filepath.Join(mountpoint, "codepen/shared"), 0o755); err != nil {
		t.Fatal(err)
	}
	return mountpoint
}

func TestBind(t *testing.T) {
	mountpoint := volume(t)
	target := filepath.Join(t.TempDir(), "home/deploy/codepen")
	unmountAfter(t, target)
	if ok, err := CheckBind(mountpoint, "codepen", target); ok || err != nil {
		t.Errorf("before: %v, %v", ok, err)
	}
	if already, err := Bind(mountpoint, "codepen", target, false); already || err != nil {
		t.Fatalf("first: %v, %v", already, err)
	}
	if same, err := SameFile(filepath.Join(mountpoint, "codepen/shared"), filepath.Join(target, "shared")); !same || err != nil {
		t.Errorf("%v, %v", same, err)
	}
	if ok, err := CheckBind(mountpoint, "codepen", target); !ok || err != nil {
		t.Errorf("after: %v, %v", ok, err)
	}
	if ok, err := CheckBind(mountpoint, "codepen/shared", target); ok || err != nil {
		t.Errorf("another directory: %v, %v", ok, err)
	}
	if already, err := Bind(mountpoint, "codepen", target, false); !already || err != nil {
		t.Errorf("again: %v, %v", already, err)
	}
	_, err := Bind(mountpoint, "codepen/shared", target, false)
	wantError(t, err, ErrTarget)
	found, err := InspectTarget(target)
	if err != nil || !strings.Contains(found.Mount.Options, "nosuid") || found.Mount.Root != "/codepen" {
		t.Errorf("%+v, %v", found, err)
	}
	if err := Unmount(target); err != nil {
		t.Fatal(err)
	}
	if got := mode(t, target); got != 0 {
		t.Errorf("below the bind: mode %03o", got)
	}
	if got := mode(t, filepath.Dir(target)); got != 0o755 {
		t.Errorf("above the bind: mode %03o", got)
	}
}

func TestBindCreates(t *testing.T) {
	mountpoint := volume(t)
	target := filepath.Join(t.TempDir(), "target")
	unmountAfter(t, target)
	_, err := Bind(mountpoint, "new/deep", target, false)
	wantError(t, err, ErrRefused)
	if !strings.Contains(err.Error(), "no directory new/deep") {
		t.Error(err)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("refused, but made the target")
	}
	old := unix.Umask(0o077)
	already, err := Bind(mountpoint, "new/deep", target, true)
	unix.Umask(old)
	if already || err != nil {
		t.Fatalf("%v, %v", already, err)
	}
	for _, sub := range []string{"new", "new/deep"} {
		if got := mode(t, filepath.Join(mountpoint, sub)); got != 0o755 {
			t.Errorf("%s: mode %03o", sub, got)
		}
	}
}

// bindTest is a bind that must be refused; mountpoint and target have defaults.
type bindTest struct {
	mountpoint, sub, target string
	want                    error
	what                    string
}

// refusedBinds prepares a volume with links, mounts and binds in it, and returns binds of
// it that must be refused.
func refusedBinds(t *testing.T, mountpoint string) map[string]bindTest {
	t.Helper()
	outside := t.TempDir()
	links := map[string]string{"absolute": outside, "up": "../..", "inner": "codepen"}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(mountpoint, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(mountpoint, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	crossed := filepath.Join(mountpoint, "crossed")
	full := filepath.Join(t.TempDir(), "full")
	other := filepath.Join(t.TempDir(), "other")
	for _, dir := range []string{crossed, filepath.Join(full, "x"), other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{crossed, other} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		unmountAfter(t, dir)
	}
	shown := filepath.Join(t.TempDir(), "shown")
	unmountAfter(t, shown)
	if _, err := Bind(mountpoint, "codepen", shown, false); err != nil {
		t.Fatal(err)
	}
	return map[string]bindTest{
		"up":                {sub: "../" + filepath.Base(outside), want: ErrRefused},
		"up and back":       {sub: "codepen/../../x", want: ErrRefused},
		"absolute":          {sub: outside, want: ErrRefused},
		"empty":             {sub: "", want: ErrRefused},
		"not clean":         {sub: "codepen//shared", want: ErrRefused},
		"link out":          {sub: "absolute", want: ErrRefused},
		"link up":           {sub: "up", want: ErrRefused},
		"link inside":       {sub: "inner/shared", want: ErrRefused},
		"file":              {sub: "file", want: ErrRefused},
		"other mount below": {sub: "crossed", want: ErrRefused},
		"inside":            {sub: "codepen", target: filepath.Join(mountpoint, "target"), want: ErrTarget, what: "inside the mountpoint"},
		"onto itself":       {sub: "codepen", target: mountpoint, want: ErrTarget},
		"inside, by a bind": {sub: "codepen", target: filepath.Join(shown, "shared/x"), want: ErrTarget},
		"relative target":   {sub: "codepen", target: "target", want: ErrTarget},
		"full target":       {sub: "codepen", target: full, want: ErrTarget},
		"other mount":       {sub: "codepen", target: other, want: ErrTarget},
		"not mounted":       {mountpoint: outside, sub: "codepen", want: ErrTarget, what: "nothing is mounted"},
		"full, new source":  {sub: "new", target: full, want: ErrTarget},
	}
}

func TestBindRefuses(t *testing.T) {
	mountpoint := volume(t)
	for name, test := range refusedBinds(t, mountpoint) {
		if test.mountpoint == "" {
			test.mountpoint = mountpoint
		}
		if test.target == "" {
			test.target = filepath.Join(t.TempDir(), "target")
		}
		before, _ := Mounts()
		_, err := Bind(test.mountpoint, test.sub, test.target, true)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.what) {
			t.Errorf("%s: %v, want %v %s", name, err, test.want, test.what)
		}
		if after, _ := Mounts(); len(after) != len(before) {
			t.Errorf("%s: refused, and mounted", name)
		}
		if filepath.Base(test.target) == "target" {
			if _, err := os.Lstat(test.target); err == nil {
				t.Errorf("%s: refused, but made the target", name)
			}
		}
	}
	if _, err := os.Lstat(filepath.Join(mountpoint, "new")); err == nil {
		t.Error("refused, but made the source directory")
	}
}

// Mounting the volume again below a bind that stayed is allowed.
func TestMountBesideBind(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	mountpoint := filepath.Join(t.TempDir(), "cp")
	target := filepath.Join(t.TempDir(), "target")
	mountXFS(t, d, mountpoint)
	unmountAfter(t, target)
	if _, err := Bind(mountpoint, "codepen", target, true); err != nil {
		t.Fatal(err)
	}
	if err := Unmount(mountpoint); err != nil {
		t.Fatal(err)
	}
	if m := mountXFS(t, d, mountpoint); m != (XFSMount{}) {
		t.Errorf("%+v", m)
	}
	if ok, err := CheckBind(mountpoint, "codepen", target); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}
