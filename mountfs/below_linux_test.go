package mountfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBelow: links lead anywhere below the directory, and nowhere else.
func TestBelow(t *testing.T) {
	top := t.TempDir()
	dir, outside := filepath.Join(top, "source"), filepath.Join(top, "outside")
	for name, text := range map[string]string{
		"source/releases/2/REVISION": "two", "source/repo/HEAD": "head", "outside/secret": "secret", "source-2/file": "sibling",
	} {
		file := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"current":    dir + "/releases/2", // as Capistrano has it
		"relative":   "releases/2",
		"chain":      "relative",
		"tolink":     "current/REVISION",
		"self":       dir,
		"secret":     outside + "/secret",
		"up":         "../outside/secret",
		"sibling":    dir + "-2/file",
		"dotted":     dir + "/../outside/secret",
		"loop":       dir + "/loop",
		"proc":       "/proc/self/environ",
		"magic":      "/proc/self/fd/0",
		"zero":       "/dev/zero",
		"far":        strings.Repeat("releases/../", 100) + "current/REVISION",
		"directory":  "releases",
		"root":       "/",
		"throughOut": outside + "/back",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir+"/releases/2/REVISION", filepath.Join(outside, "back")); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBelow(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for path, want := range map[string]string{
		"releases/2/REVISION": "two", "./releases/2/REVISION": "two", "current/REVISION": "two", "relative/REVISION": "two", "chain/REVISION": "two",
		"tolink": "two", "current/../../repo/HEAD": "head", "self/self/current/REVISION": "two", "far": "two",
		dir + "/current/REVISION": "two", dir + "//repo/HEAD": "head",
		"secret": "", "up": "", "../outside/secret": "", "sibling": "", "dotted": "", "loop": "", "proc": "", "magic": "", "zero": "", "directory": "", "none": "",
		outside + "/secret": "", dir + "-2/file": "", dir + "/../outside/secret": "", "root/etc/passwd": "", "throughOut": "", "current/../../../outside/secret": "", "": "", ".": "",
	} {
		text, err := b.ReadFile(path, 100)
		if string(text) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", path, text, err, want)
		}
	}
	if _, err := b.ReadFile("repo/HEAD", 3); !errors.Is(err, ErrNotBelow) {
		t.Errorf("larger than it may be: %v", err)
	}
}

// TestBelowOpensFilesOnly: a device or a FIFO is not even opened.
func TestBelowOpensFilesOnly(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	paths := map[string]uint32{"fifo": unix.S_IFIFO, "device": unix.S_IFCHR, "file": unix.S_IFREG}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	b, err := OpenBelow(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for name, kind := range paths {
		path := filepath.Join(dir, name)
		if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
		id, err := unix.InotifyAddWatch(watch, path, unix.IN_OPEN)
		if err != nil {
			t.Fatal(err)
		}
		_, readErr := b.ReadFile(name, 100)
		n, _ := unix.Read(watch, make([]byte, 4096))
		if opened := n > 0; opened != (kind == unix.S_IFREG) || (readErr == nil) != opened {
			t.Errorf("%s: opened %v, %v", name, opened, readErr)
		}
		unix.InotifyRmWatch(watch, uint32(id))
		unix.Read(watch, make([]byte, 4096)) // that it is not watched any more
	}
}

// TestBelowOneFileSystem: what is mounted below is not in a snapshot, and may not answer.
func TestBelowOneFileSystem(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	inner := filepath.Join(dir, "mounted")
	if err := errors.Join(os.Mkdir(inner, 0o755), unix.Mount("none", inner, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(inner, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(inner, "file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBelow(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if text, err := b.ReadFile("mounted/file", 100); err == nil {
		t.Errorf("read %q", text)
	}
}
