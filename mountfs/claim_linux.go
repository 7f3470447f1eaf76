package mountfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Claim is a lock of one process on a file, which shows others the process. The kernel releases
// it when the process ends, however it ends. Only the file's owner can read the file: others could
// lock it, too.
type Claim struct{ file *os.File }

// TakeClaim claims the file at path, which it creates if missing. ErrBusy: another process has
// claimed it.
func TakeClaim(path string) (*Claim, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	if err == nil {
		return &Claim{f}, nil
	}
	f.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%w: another process has locked %s", ErrBusy, path)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// Release releases the claim.
func (c *Claim) Release() error { return c.file.Close() }

// Claimant returns the process that has claimed the file at path, 0 for none. The error is
// os.ErrPermission for all but root and the file's owner.
func Claimant(path string) (pid int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("lock of %s: %w", path, err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

// endPoll is how often the wait for the end of a process looks at its context, in milliseconds.
const endPoll = 100

// killAfter is how long a process has to end by SIGTERM, before SIGKILL.
const killAfter = 2 * time.Second

// EndClaimant sends SIGTERM to the process that has claimed the file at path, and after a while
// SIGKILL, and waits for its end until ctx ends. Without one it does nothing.
func EndClaimant(ctx context.Context, path string) error {
	pid, err := Claimant(path)
	if err != nil || pid == 0 {
		return err
	}
	if pid < 0 { // of another PID namespace
		return fmt.Errorf("%w: a process that is not visible here has locked %s", ErrBusy, path)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// The number may have been reused before it was opened.
	if again, err := Claimant(path); err != nil || again != pid {
		return err
	}
	signals := []unix.Signal{unix.SIGTERM, unix.SIGCONT} // it may be stopped
	for kill := time.Now().Add(killAfter); ; {
		for _, s := range signals {
			if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		signals = nil
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, endPoll)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the end of process %d: %w", pid, err)
		case ctx.Err() != nil:
			return fmt.Errorf("%w: process %d, which has locked %s, does not end: %w", ErrBusy, pid, path, context.Cause(ctx))
		case !kill.IsZero() && time.Now().After(kill):
			signals, kill = []unix.Signal{unix.SIGKILL}, time.Time{}
		}
	}
}
