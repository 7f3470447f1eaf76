package mountfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUsers: processes that keep an unmounted file system alive are listed.
func TestUsers(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, UUIDFor("vol-users"))
	at := filepath.Join(t.TempDir(), "at")
	mount := func() {
		t.Helper()
		if _, err := MountXFS(d, at, nil); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want ...string) {
		t.Helper()
		users, err := Users(t.Context(), d)
		if err != nil || len(users) != len(want) {
			t.Errorf("%s: %q, %v; want %q", what, users, err, want)
			return
		}
		for i, w := range want {
			if !strings.HasPrefix(users[i], w) {
				t.Errorf("%s: %q, want %q", what, users, want)
			}
		}
	}
	mount()
	if err := Unmount(at); err != nil {
		t.Fatal(err)
	}
	check("nobody")

	mount()
	container := startContainer(t)
	if err := Unmount(at); err != nil {
		t.Fatal(err)
	}
	check("a container", "sleep (pid "+strconv.Itoa(container.Process.Pid)+")")
	_ = container.Process.Kill()
	_ = container.Wait()
	check("the container has ended")

	// A file that is open beyond a lazy unmount.
	mount()
	file, err := os.Create(filepath.Join(at, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	check("an open file", ownName(t)+" (pid ")
	file.Close()
	check("it is closed")

	// A user that ends soon is waited for.
	held, err := unix.Open(d.Node, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(usersTimeout/4, func() { unix.Close(held) })
	check("held for a moment")
}

// startContainer starts a process in a mount namespace of its own, as a container has.
func startContainer(t *testing.T) *exec.Cmd {
	t.Helper()
	container := exec.CommandContext(t.Context(), needTool(t, "unshare"), "--mount", "--propagation", "private", "sleep", "60")
	if err := container.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(lockPoll) {
		name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(container.Process.Pid), "comm"))
		if string(name) == "sleep\n" {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the container is %q: %v", name, err)
		}
	}
	return container
}

// ownName returns this process's name, as /proc has it.
func ownName(t *testing.T) string {
	t.Helper()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(name))
}
