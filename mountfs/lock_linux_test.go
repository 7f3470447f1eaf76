package mountfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run/lock")
	unlock, err := Lock(t.Context(), path, func() { t.Error("waiting for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	// Taken: waits, says so once, and stops with the context.
	ctx, cancel := context.WithTimeout(t.Context(), 5*lockRetry)
	defer cancel()
	waits := 0
	_, err = Lock(ctx, path, func() { waits++ })
	if !errors.Is(err, context.DeadlineExceeded) || waits != 1 {
		t.Errorf("%v, %d waits", err, waits)
	}
	// Freed while another waits.
	again, err := Lock(t.Context(), path, func() {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// A lock file that was removed and made again is another lock.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	third, err := Lock(t.Context(), path, func() { t.Error("waiting for a removed lock") })
	if err != nil {
		t.Fatal(err)
	}
	for _, unlock := range []func() error{again, third} {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
	// nil for waiting is allowed.
	last, err := Lock(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	last()
}

func TestLockLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), path, nil); err == nil {
		t.Error("followed a link")
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("made a file through a link")
	}
}
