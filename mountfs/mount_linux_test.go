package mountfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"snapsource/mountfs/looptest"
)

func TestMountXFS(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	dir := t.TempDir()
	target := filepath.Join(dir, "srv", "cp")
	if m := mountXFS(t, d, target, "noatime", "nosuid", "nodev", "discard"); m != (XFSMount{}) {
		t.Errorf("first: %+v", m)
	}
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	m, ok := MountAt(mounts, target)
	if !ok || m.FSType != "xfs" || m.Source != d.Node || m.Root != "/" || m.Major != d.Major || m.Minor != d.Minor {
		t.Errorf("%+v", m)
	}
	for _, o := range []string{"noatime", "nosuid", "nodev"} {
		if !strings.Contains(m.Options, o) {
			t.Errorf("options %s without %s", m.Options, o)
		}
	}
	if !strings.Contains(m.SuperOptions, "discard") || strings.Contains(m.SuperOptions, "nouuid") {
		t.Errorf("XFS options %s", m.SuperOptions)
	}
	if found, err := InspectTarget(target); err != nil || found.State != Mounted || found.Mount != m {
		t.Errorf("%+v, %v", found, err)
	}
	if again := mountXFS(t, d, target); again != (XFSMount{Already: true}) {
		t.Errorf("again: %+v", again)
	}
	_, err = MountXFS(d, filepath.Join(dir, "other"), nil)
	wantError(t, err, ErrBusy)
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("refused, but made the mountpoint")
	}
	if err := Unmount(target); err != nil {
		t.Fatal(err)
	}
	if got := mode(t, target); got != 0 {
		t.Errorf("below the mount: mode %03o", got)
	}
	if got := mode(t, filepath.Dir(target)); got != 0o755 {
		t.Errorf("above the mountpoint: mode %03o", got)
	}
}

func TestMountRefusesContents(t *testing.T) {
	needRoot(t)
	for name, spoil := range map[string]func(t *testing.T, node string){
		"blank":      func(t *testing.T, node string) { poke(t, node, 0, zeros(512)) },
		"torn":       func(t *testing.T, node string) { poke(t, node, 0x90, []byte{1, 2, 3}) },
		"unfinished": unfinish,
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := xfsDevice(t, testSize, testUUID)
			spoil(t, d.Node)
			before := sum(t, d.Node)
			target := filepath.Join(t.TempDir(), "cp")
			_, err := MountXFS(d, target, nil)
			wantError(t, err, ErrRefused)
			if _, err := os.Lstat(target); err == nil {
				t.Error("refused, but made the mountpoint")
			}
			if sum(t, d.Node) != before {
				t.Error("refused, and changed")
			}
		})
	}
	d, _ := xfsDevice(t, testSize, testUUID)
	d.Seq++
	_, err := MountXFS(d, filepath.Join(t.TempDir(), "cp"), nil)
	wantError(t, err, ErrWrongDevice)
}

func TestMountKernelError(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	target := filepath.Join(t.TempDir(), "cp")
	_, err := MountXFS(d, target, []string{"noatime", "nonsense"})
	unmountAfter(t, target)
	var mountError *MountError
	if !errors.As(err, &mountError) || !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	wantError(t, err, ErrOption)
	for _, want := range []string{d.Node, target, `mount option unknown to this kernel: "nonsense"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
	if err := Unmount(target); !errors.Is(err, unix.EINVAL) || errors.Is(err, ErrBusy) {
		t.Errorf("unmount of nothing: %v", err)
	}
}

// The node may be given to another disk between the checks and mount(2).
func TestVerifyMount(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	target := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, target)
	if err := d.verifyMount(target); err != nil {
		t.Error(err)
	}
	other := d
	other.Minor++
	wantError(t, other.verifyMount(target), ErrWrongDevice)
	wantError(t, d.verifyMount(target+"x"), ErrTarget)
}

// A copy of a mounted file system gets nouuid; nothing else does.
func TestMountCopy(t *testing.T) {
	needRoot(t)
	first, image := xfsDevice(t, testSize, testUUID)
	second := copyOf(t, image)
	other, _ := xfsDevice(t, testSize, otherUUID)
	dir := t.TempDir()
	mountXFS(t, first, filepath.Join(dir, "first"))
	if m := mountXFS(t, other, filepath.Join(dir, "other")); m.NoUUID {
		t.Error("another UUID, mounted with nouuid")
	}
	if m := mountXFS(t, second, filepath.Join(dir, "second")); !m.NoUUID || m.Already {
		t.Errorf("%+v", m)
	}
	if m := mountXFS(t, second, filepath.Join(dir, "second")); !m.NoUUID || !m.Already {
		t.Errorf("again: %+v", m)
	}
}

// The same, when the first is mounted in another mount namespace and so is not
// in our mountinfo; once with its device node in sight, and once without.
func TestMountCopyOfOtherNamespace(t *testing.T) {
	needRoot(t)
	for _, hidden := range []bool{false, true} {
		t.Run(fmt.Sprintf("hidden=%v", hidden), func(t *testing.T) {
			first, image := xfsDevice(t, testSize, testUUID)
			second := copyOf(t, image)
			mountElsewhere(t, first.Node)
			if hidden {
				cover(t, first.Node)
			}
			if mounted, unknown := uuidMounted(testUUID, filepath.Base(second.Node)); mounted == hidden || unknown != hidden {
				t.Errorf("mounted %v, unknown %v", mounted, unknown)
			}
			target := filepath.Join(t.TempDir(), "second")
			if m := mountXFS(t, second, target); !m.NoUUID {
				t.Errorf("%+v", m)
			}
		})
	}
}

func copyOf(t *testing.T, image string) Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.img")
	runTool(t, "cp", "--sparse=always", image, path)
	return device(t, looptest.Attach(t, path))
}

// mountElsewhere mounts a device in a mount namespace of its own.
func mountElsewhere(t *testing.T, node string) {
	t.Helper()
	cmd := exec.Command(needTool(t, "unshare"), "--mount", "--propagation", "private", "sh", "-c", `mount "$0" "$1" && echo mounted && read wait`, node, t.TempDir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		rest, _ := io.ReadAll(stdout)
		t.Fatalf("mount in another namespace: %q%q, %v", line, rest, err)
	}
}

// cover hides a device's node in this process's mount namespace.
func cover(t *testing.T, node string) {
	t.Helper()
	if err := unix.Mount("/dev/null", node, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, node)
}

func TestSplitOptions(t *testing.T) {
	for _, test := range []struct {
		options string
		flags   uintptr
		data    string
	}{
		{"", 0, ""},
		{"noatime nosuid nodev", unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"defaults ro noexec sync dirsync lazytime nodiratime", unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_LAZYTIME | unix.MS_NODIRATIME, ""},
		{"noatime relatime", unix.MS_RELATIME, ""},
		{"relatime strictatime", unix.MS_STRICTATIME, ""},
		{"noatime atime", 0, ""},
		{"ro rw nosuid suid nodev dev noexec exec sync async", 0, ""},
		{"nosymfollow silent", unix.MS_NOSYMFOLLOW | unix.MS_SILENT, ""},
		{"discard noatime logbsize=256k", unix.MS_NOATIME, "discard,logbsize=256k"},
	} {
		flags, data, err := splitOptions(strings.Fields(test.options))
		if err != nil || flags != test.flags || strings.Join(data, ",") != test.data {
			t.Errorf("%q: %#x %q, %v", test.options, flags, data, err)
		}
	}
	for _, bad := range []string{"", "a,b", "noatime,nosuid", "a\x00b", "a b", "bind", "remount", "shared"} {
		if CheckOptions([]string{"noatime", bad}) == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}
