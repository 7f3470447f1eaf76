package mountfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockRetry is the poll interval for a lock that another run holds. A blocking flock can't
// be cancelled, and no event reports a release; the cost is small beside the seconds that
// the other run takes.
const lockRetry = 20 * time.Millisecond

// Lock takes the lock on the file at path, which it creates if missing, and waits for it
// until ctx ends; waiting, if not nil, is called once if it has to wait. The kernel
// releases the lock when the process ends, however it ends.
func Lock(ctx context.Context, path string, waiting func()) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		f, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if f != nil {
			return f.Close, nil
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s, which another run holds: %w", path, context.Cause(ctx))
		case <-retry.C:
		}
	}
}

// tryLock returns the locked file, or nil while another process has the lock. A file that
// was removed meanwhile locks out nobody, so the path must still be that file.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var ours, there os.FileInfo
		if ours, err = f.Stat(); err == nil {
			if there, err = os.Lstat(path); err == nil && os.SameFile(ours, there) {
				return f, nil
			}
		}
	}
	f.Close()
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}
