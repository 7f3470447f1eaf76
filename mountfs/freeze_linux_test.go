package mountfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeWithin bounds a write that must not be blocked; it takes milliseconds.
const writeWithin = time.Second

// blockedFor is how long a write is watched to tell that it is blocked.
const blockedFor = 200 * time.Millisecond

// freezable mounts an XFS for the test's time and thaws it at the end whatever
// happened: what writes to a frozen file system can't even be killed.
func freezable(t *testing.T) string {
	t.Helper()
	d, _ := xfsDevice(t, testSize, testUUID)
	mountpoint := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, mountpoint)
	thawAfter(t, mountpoint)
	return mountpoint
}

func thawAfter(t *testing.T, mountpoint string) {
	t.Helper()
	dir, err := openDir(mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for thaw(dir) == nil {
		}
		dir.Close()
	})
}

// writer is another process that writes a file and fsyncs it.
type writer struct{ done chan error }

// startWriter starts one; it is over when the file system has been thawed.
func startWriter(t *testing.T, mountpoint string) writer {
	t.Helper()
	cmd := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(mountpoint, "file"), "bs=4k", "count=1", "conv=fsync", "status=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := writer{make(chan error, 1)}
	go func() { w.done <- cmd.Wait() }()
	return w
}

func (w writer) writesWithin(d time.Duration) bool {
	select {
	case <-w.done:
		return true
	case <-time.After(d):
		return false
	}
}

func wantWritable(t *testing.T, mountpoint, when string) {
	t.Helper()
	if !startWriter(t, mountpoint).writesWithin(writeWithin) {
		t.Fatalf("%s: a write is blocked for more than %s", when, writeWithin)
	}
}

func freeze(t *testing.T, mountpoint string, limit time.Duration) (f *Frozen, lost chan struct{}) {
	t.Helper()
	lost = make(chan struct{})
	f, err := Freeze(mountpoint, limit, func() { close(lost) })
	if err != nil {
		t.Fatal(err)
	}
	return f, lost
}

func TestFreeze(t *testing.T) {
	needRoot(t)
	wantNormal := normalPace(t)
	mountpoint := freezable(t)
	wantWritable(t, mountpoint, "before")
	if err := Flush(mountpoint); err != nil {
		t.Fatal(err)
	}
	f, lost := freeze(t, mountpoint, time.Minute)
	wantNormal()
	guard := f.guard.cmd.Process.Pid
	w := startWriter(t, mountpoint)
	if w.writesWithin(blockedFor) {
		t.Error("a write went through while it was frozen")
	}
	if _, err := os.ReadDir(mountpoint); err != nil {
		t.Errorf("reading: %v", err)
	}
	if err := Flush(mountpoint); err != nil {
		t.Errorf("flush: %v", err)
	}
	_, err := Freeze(mountpoint, time.Minute, nil)
	wantError(t, err, ErrBusy)
	pause, err := f.Thaw()
	if err != nil || pause < blockedFor {
		t.Errorf("thaw: %v after %s", err, pause)
	}
	if !w.writesWithin(writeWithin) {
		t.Fatal("the writer is blocked still")
	}
	select {
	case <-lost:
		t.Error("it was not lost")
	default:
	}
	if err := unix.Kill(guard, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the guard is still there: %v", err)
	}
	// Nothing is left that keeps it from being frozen again.
	f, _ = freeze(t, mountpoint, time.Minute)
	if _, err := f.Thaw(); err != nil {
		t.Error(err)
	}
}

func TestFreezeRefused(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	dir := filepath.Join(mountpoint, "codepen")
	bound, memory := filepath.Join(t.TempDir(), "bound"), filepath.Join(t.TempDir(), "tmpfs")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(bound, 0o755), os.Mkdir(memory, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dir, bound, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, bound)
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, memory)
	// A bind of a directory of the root file system is on a mountpoint of its own.
	rooted := filepath.Join(t.TempDir(), "rooted")
	if err := os.Mkdir(rooted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/", rooted, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, rooted)
	for _, tc := range []struct{ path, says string }{
		{"/", "root file system"},
		{rooted, "root file system"},
		{dir, "nothing is mounted"},
		{bound, "only /codepen"},
		{memory, "can't be frozen"},
	} {
		f, err := Freeze(tc.path, time.Minute, nil)
		if err == nil {
			f.Thaw()
		}
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", tc.path, err, tc.says)
		}
	}
	if _, err := Freeze(filepath.Join(mountpoint, "missing"), time.Minute, nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	wantWritable(t, mountpoint, "after")
}

// TestFrozenByAnother: another program's freeze is reported and not thawed.
func TestFrozenByAnother(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	runTool(t, "fsfreeze", "--freeze", mountpoint)
	_, err := Freeze(mountpoint, time.Minute, nil)
	wantError(t, err, ErrBusy)
	if !strings.Contains(err.Error(), "fsfreeze --unfreeze "+mountpoint) {
		t.Errorf("no remedy in %q", err)
	}
	runTool(t, "fsfreeze", "--unfreeze", mountpoint) // fails if it was thawed
}

// TestThawedByAnother: a thaw by another program is reported.
func TestThawedByAnother(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	f, _ := freeze(t, mountpoint, time.Minute)
	runTool(t, "fsfreeze", "--unfreeze", mountpoint)
	_, err := f.Thaw()
	wantError(t, err, ErrThawed)
}

// TestFreezeUnprivileged: the error is the kernel's refusal.
func TestFreezeUnprivileged(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), needTool(t, "setpriv"), "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", self)
	cmd.Env = append(os.Environ(), freezeAndWait+"="+mountpoint)
	out, _ := cmd.CombinedOutput()
	if !bytes.Contains(out, []byte("needs root")) {
		t.Errorf("%s", out)
	}
	wantWritable(t, mountpoint, "after")
}

func waitFor(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case <-c:
	case <-ctx.Done():
		t.Fatalf("%s: not within 10 s", what)
	}
}
