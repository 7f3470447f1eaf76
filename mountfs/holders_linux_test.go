package mountfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHolders: what uses a mounted file system is listed before it is unmounted.
func TestHolders(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, UUIDFor("vol-holders"))
	at := filepath.Join(t.TempDir(), "at")
	if _, err := MountXFS(d, at, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Unmount(at) })
	check := func(what, want string) {
		t.Helper()
		holders, err := Holders(d)
		got := strings.Join(holders, ", ")
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", what, got, err, want)
		}
	}
	pid := func(c *exec.Cmd) string { return "sleep (pid " + strconv.Itoa(c.Process.Pid) + ")" }
	end := func(c *exec.Cmd) {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	check("nobody", "")

	holdFile(t, at, check)

	worker := exec.CommandContext(t.Context(), "sleep", "60")
	worker.Dir = at
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	check("a working directory", pid(worker))
	end(worker)

	container := startContainer(t)
	check("a container", pid(container))
	end(container)

	below := filepath.Join(at, "tmp")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	check("a mount", "the mount "+below+" (tmpfs)")
	if err := unix.Unmount(below, 0); err != nil {
		t.Fatal(err)
	}
	check("nobody again", "")
}

// holdFile opens a file of a mount, then only maps it, and checks what is said.
func holdFile(t *testing.T, at string, check func(what, want string)) {
	t.Helper()
	file, err := os.Create(filepath.Join(at, "file"))
	if err != nil {
		t.Fatal(err)
	}
	const self = "this command itself (its working directory, or a file that it has open)"
	check("an open file", self)
	if _, err := file.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	text, err := unix.Mmap(int(file.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	check("a mapped file", self)
	if err := unix.Munmap(text); err != nil {
		t.Fatal(err)
	}
}

// TestKeptBy: which mounts stay in another namespace.
func TestKeptBy(t *testing.T) {
	ours := peerGroups([]string{"42 29 259:1 / /cp rw,noatime shared:5 master:2 - xfs /dev/nvme1n1 rw\n"})
	for line, want := range map[string]bool{
		"42 29 259:1 / /cp rw,noatime - xfs /dev/nvme1n1 rw":          true,
		"42 29 259:1 / /cp rw,noatime shared:7 - xfs /dev/nvme1n1 rw": true,
		"42 29 259:1 / /cp rw shared:5 - xfs /dev/nvme1n1 rw":         false,
		"42 29 259:1 / /cp rw master:5 - xfs /dev/nvme1n1 rw":         false,
		"42 29 259:1 / /cp rw shared:9 master:5 - xfs x rw":           false,
		"42 29 259:1 / /cp rw unbindable - xfs /dev/nvme1n1 rw":       true,
	} {
		if got := keptBy(line, ours); got != want {
			t.Errorf("%s: %t, want %t", line, got, want)
		}
	}
}
