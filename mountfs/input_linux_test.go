package mountfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile are strings that must never become a path, a flag or an option.
var hostile = []string{
	"", "-f", "--", ".", "..", "../../etc/passwd", "/etc/passwd", "a/../b", "a/b", "a\nb", "a\x00b", "\xff\xfe", "a b", "a,b", "ä",
	strings.Repeat("a", 300), "vol-", "vol-../../x", "vol-0123456789abcdef0/..", "vol-0123456789abcdef0\n", "VOL-0123456789ABCDEF0", "snap-0123456789abcdef0",
}

// A volume id becomes part of a path, so only what EC2 gives out is taken, even
// where a device lies at the end of the path.
func TestFindHostileID(t *testing.T) {
	h := Host{Sys: t.TempDir(), Dev: t.TempDir()}
	for _, dir := range []string{filepath.Join(h.Sys, "block"), filepath.Join(h.Dev, "disk/by-id")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range hostile {
		if d, err := h.Find(Volume{ID: id}); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %+v, %v", id, d, err)
		}
	}
	for _, id := range []string{"vol-0123456789abcdef0", "vol-01234567"} {
		if _, err := h.Find(Volume{ID: id}); !errors.Is(err, ErrNoDevice) {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, name := range hostile {
		if names := namesOf(name); names != nil && name != "a" {
			t.Errorf("device name %q: %q", name, names)
		}
		if names := namesOf("/dev/" + name); names != nil {
			t.Errorf("device name /dev/%q: %q", name, names)
		}
	}
}

// Nothing of these reaches mkfs.xfs but as what it is.
func TestFormatHostileInput(t *testing.T) {
	needRoot(t)
	d, _ := loopDevice(t, testSize)
	fakeMkfs(t, `for a in "$@"; do printf '[%s]' "$a"; done; exit 1`)
	disk := openDisk(t, d)
	defer disk.Close()
	for _, uuid := range append(hostile, strings.ToUpper(testUUID), testUUID+",crc=0") {
		if err := disk.Format(t.Context(), Format{UUID: uuid}); err == nil || !strings.Contains(err.Error(), "not a UUID") {
			t.Errorf("UUID %q: %v", uuid, err)
		}
	}
	for _, name := range hostile {
		want := "[-q][-m][uuid=" + testUUID + "]"
		if l := Label(name); l != "" {
			want += "[-L][" + l + "]"
		}
		err := disk.Format(t.Context(), Format{UUID: testUUID, Label: name})
		if err == nil || !strings.HasSuffix(err.Error(), want+"["+d.Node+"]") {
			t.Errorf("label %q: %v; want %s", name, err, want)
		}
	}
	relative := disk.device
	relative.Node = "-f"
	if err := (&Disk{device: relative, file: disk.file}).Format(t.Context(), Format{UUID: testUUID}); err == nil || strings.Contains(err.Error(), "[-q]") {
		t.Errorf("a flag for a device: %v", err)
	}
}

func TestHostileTargets(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	cp := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, cp)
	for _, s := range hostile {
		if s == "/etc/passwd" {
			continue
		}
		if _, err := MountXFS(d, s, nil); !errors.Is(err, ErrTarget) {
			t.Errorf("mount at %q: %v", s, err)
		}
		if err := Unmount(s); !errors.Is(err, ErrTarget) {
			t.Errorf("unmount %q: %v", s, err)
		}
		if _, err := Bind(cp, "code", s, true); !errors.Is(err, ErrTarget) {
			t.Errorf("bind on %q: %v", s, err)
		}
		if err := CheckOptions([]string{s}); err == nil && strings.ContainsAny(s, ", \n\x00\\") {
			t.Errorf("mount option %q: accepted", s)
		}
	}
	for _, sub := range []string{"", "..", "../../etc", "/etc", "a/../b", "a\x00b", strings.Repeat("a", 300)} {
		target := filepath.Join(t.TempDir(), "app")
		if _, err := Bind(cp, sub, target, true); !errors.Is(err, ErrRefused) {
			t.Errorf("bind of %q: %v", sub, err)
		}
		if _, err := os.Lstat(target); err == nil {
			t.Errorf("bind of %q: refused, but made the target", sub)
		}
	}
	for _, target := range []string{"/etc/passwd", filepath.Join(t.TempDir(), strings.Repeat("a", 300))} {
		if _, err := MountXFS(d, target, nil); !errors.Is(err, ErrTarget) {
			t.Errorf("mount at %.30q: %v", target, err)
		}
	}
	for _, option := range []string{"logdev=/dev/vda", "rtdev=/dev/vda"} {
		if err := CheckOptions([]string{option}); err == nil {
			t.Errorf("mount option %q: accepted", option)
		}
	}
}

// Unmount goes through no link.
func TestUnmountLinks(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	mounted := filepath.Join(dir, "real", "cp")
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, mounted)
	for link, to := range map[string]string{"above": "real", "itself": "real/cp"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"above/cp", "itself"} {
		if err := Unmount(filepath.Join(dir, path)); err == nil {
			t.Errorf("%s: unmounted", path)
		}
	}
	if err := Unmount(mounted); err != nil {
		t.Error(err)
	}
}
