package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"snapsource/agent/failure"
)

// TestCheckWritable: a file system for the records that is full or read-only is named.
func TestCheckWritable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts a tmpfs: needs root")
	}
	run := t.TempDir()
	if err := unix.Mount("tmpfs", run, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(run, 0) })
	dir := Dir(filepath.Join(run, "snapsource")) // created by the first run
	if err := dir.CheckWritable(); err != nil {
		t.Errorf("an empty tmpfs: %v", err)
	}
	if err := os.WriteFile(filepath.Join(run, "log"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.CheckWritable(); failure.ExitCode(err) != failure.ExitTemporary || !strings.Contains(err.Error(), run+" is full") {
		t.Errorf("full: %v", err)
	}
	if err := unix.Mount("", run, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := dir.CheckWritable(); failure.ExitCode(err) != failure.ExitUsage || !strings.Contains(err.Error(), run+" is on a read-only") {
		t.Errorf("read-only: %v", err)
	}
}
