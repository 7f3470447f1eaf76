package mountfs

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReader: it reads a device that is mounted, past the page cache, and the kernel counts that.
func TestReader(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	mountXFS(t, d, filepath.Join(t.TempDir(), "target"))
	r, err := OpenReader(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, free, err := ReadBuffer(2 * ReadAlignment)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	reads, read, err := r.Activity()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := r.ReadAt(b, 0); n != len(b) || err != nil || !bytes.HasPrefix(b, []byte("XFSB")) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	after, readAfter, err := r.Activity()
	if err != nil || after-reads < 3 || readAfter-read < 3*int64(len(b)) {
		t.Errorf("the device counts %d reads, %d bytes, %v", after-reads, readAfter-read, err)
	}
	if _, err := r.ReadAt(b, d.Size); !errors.Is(err, unix.ENXIO) {
		t.Errorf("beyond the end: %v", err)
	}
	other := d
	other.Size++
	if _, err := OpenReader(other); !errors.Is(err, ErrWrongDevice) {
		t.Errorf("another device: %v", err)
	}
	if err := LowerIOPriority(true); err != nil {
		t.Error(err)
	}
}
