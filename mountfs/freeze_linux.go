package mountfs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The ioctls that freeze and thaw, from the kernel's include/uapi/linux/fs.h; the same
// numbers on amd64 and arm64.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// Flush writes the dirty data of the file system at mountpoint to its device while writers
// go on. A freeze right after it has little left to write while writers are blocked (1.56 s
// for 600 MiB on Linux 6.18).
func Flush(mountpoint string) error {
	dir, err := openDir(mountpoint)
	if err != nil {
		return fmt.Errorf("flush %s: %w", mountpoint, err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", mountpoint, err)
	}
	return nil
}

// Frozen is a frozen file system: writers block until [Frozen.Thaw].
type Frozen struct {
	dir   *os.File // in the file system; the guard has it too
	guard *guard
	since time.Time // when the freeze began
	lost  func()

	thawing chan struct{} // closed by Thaw
	watched sync.WaitGroup
}

// Freeze freezes the file system at mountpoint: all written data is on the device, writers
// block, readers do not. A guard process thaws it after limit at the latest, and at once
// when this process ends; see [RunGuard]. If the guard thaws it, or ends, lost is called
// from another goroutine.
//
// ErrRefused: the root file system, a mount of only a part of a file system, or a file
// system that can't be frozen. ErrBusy: it is already frozen. The ioctl can't be cancelled:
// it lasts until all dirty data is written.
func Freeze(mountpoint string, limit time.Duration, lost func()) (*Frozen, error) {
	dir, err := openForFreeze(mountpoint)
	if err != nil {
		return nil, fmt.Errorf("freeze %s: %w", mountpoint, err)
	}
	return freezeOpen(mountpoint, dir, limit, lost)
}

// CheckNotFrozen returns ErrBusy if the file system mounted at path, in whole or in part, is
// frozen. The kernel has no query for that; only an attempt to freeze shows it, and
// CheckNotFrozen thaws at once. For a file system that can't be frozen it returns nil.
func CheckNotFrozen(path string, limit time.Duration) error {
	if err := checkPath(path); err != nil {
		return err
	}
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	var here, root unix.Stat_t
	if err := errors.Join(unix.Fstat(int(dir.Fd()), &here), unix.Stat("/", &root)); err != nil || here.Dev == root.Dev {
		dir.Close()
		return err
	}
	_ = unix.Syncfs(int(dir.Fd())) // dirty data would prolong the freeze
	if err := lockToFreeze(dir); err != nil {
		dir.Close()
		return fmt.Errorf("freeze %s: %w", path, err)
	}
	f, err := freezeOpen(path, dir, limit, func() {})
	switch {
	case err == nil:
		_, err = f.Thaw()
		return err
	case errors.Is(err, ErrBusy):
		return err
	}
	return nil
}

// freezeOpen freezes the file system of dir. It closes dir if it fails.
func freezeOpen(mountpoint string, dir *os.File, limit time.Duration, lost func()) (*Frozen, error) {
	g, err := startGuard(dir, limit)
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("freeze %s: start its guard: %w", mountpoint, err)
	}
	f := &Frozen{dir: dir, guard: g, lost: lost, thawing: make(chan struct{})}
	if err := f.freeze(limit); err != nil {
		g.stop()
		dir.Close()
		return nil, freezeError(mountpoint, err)
	}
	f.watched.Go(f.watch)
	return f, nil
}

// freeze calls FIFREEZE. If that succeeds only after the limit, the guard thaws, and freeze
// fails.
func (f *Frozen) freeze(limit time.Duration) error {
	defer expediteRCU()()
	f.since = time.Now()
	if err := ioctl(f.dir, fiFreeze, nil); err != nil {
		return err
	}
	if time.Since(f.since) < limit {
		return nil
	}
	f.guard.disconnect() // the guard thaws, if it has not yet
	<-f.guard.ended
	return fmt.Errorf("%w: writing the dirty data took longer than the freeze timeout", ErrThawed)
}

// watch thaws if the guard ends before it is stopped: without a guard nothing would thaw if
// this process ended now.
func (f *Frozen) watch() {
	select {
	case <-f.thawing:
	case <-f.guard.ended:
		_ = thaw(f.dir) // the guard has done it, or it fails: Thaw reports that
		f.lost()
	}
}

// Thaw thaws, and returns how long writers were blocked. ErrThawed: they could write
// earlier.
func (f *Frozen) Thaw() (pause time.Duration, err error) {
	err = thaw(f.dir)
	pause = time.Since(f.since)
	close(f.thawing)
	f.watched.Wait()
	if err == nil || errors.Is(err, ErrThawed) {
		f.guard.stop()
	} else {
		f.guard.disconnect() // it goes on retrying
	}
	name := f.dir.Name()
	f.dir.Close()
	if err != nil {
		return pause, fmt.Errorf("thaw %s: %w", name, err)
	}
	return pause, nil
}

// thaw thaws the file system of dir. ErrThawed: it is not frozen, or a freeze is still in
// progress.
func thaw(dir *os.File) error {
	err := ioctl(dir, fiThaw, nil)
	if errors.Is(err, unix.EINVAL) {
		return ErrThawed
	}
	return err
}

// openForFreeze opens the root of a file system that is mounted at mountpoint as a whole
// and may be frozen, and locks it against a second freeze. The guard shares the lock, so it
// can't thaw a later freeze by another run.
func openForFreeze(mountpoint string) (*os.File, error) {
	if err := checkPath(mountpoint); err != nil {
		return nil, fmt.Errorf("%w: the root file system, or not a mountpoint: %w", ErrRefused, err)
	}
	dir, err := openDir(mountpoint)
	if err != nil {
		return nil, err
	}
	err = checkFreezable(mountpoint, dir)
	if err == nil {
		err = lockToFreeze(dir)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// guardExitTimeout is how long the guard of a killed run may take to thaw and to release
// the lock; it takes milliseconds.
const guardExitTimeout = 2 * time.Second

// lockToFreeze takes the lock, unless another run has it. It polls: no event reports that a
// flock is released.
func lockToFreeze(dir *os.File) error {
	for end := time.Now().Add(guardExitTimeout); ; time.Sleep(lockPoll) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: another run has frozen it", ErrBusy)
		}
	}
}

// checkFreezable refuses the root file system and a bind of a part of any. A freeze affects
// the whole file system, whatever part of it is mounted here.
func checkFreezable(mountpoint string, dir *os.File) error {
	var here, root unix.Stat_t
	if err := errors.Join(unix.Fstat(int(dir.Fd()), &here), unix.Stat("/", &root)); err != nil {
		return err
	}
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	m, ok := mountOf(mounts, mountpoint, dir)
	switch {
	case here.Dev == root.Dev, ok && isRootMount(mounts, m):
		return fmt.Errorf("%w: it is in the root file system, which is never frozen", ErrRefused)
	case !ok:
		return fmt.Errorf("%w: nothing is mounted there", ErrRefused)
	case m.Root != "/":
		return fmt.Errorf("%w: only %s of a file system is mounted there", ErrRefused, m.Root)
	}
	return nil
}

// isRootMount compares devices too: each subvolume of a btrfs has a device number of its
// own.
func isRootMount(mounts []Mount, m Mount) bool {
	root, ok := MountAt(mounts, "/")
	return ok && root.Major == m.Major && root.Minor == m.Minor
}

// freezeError explains an errno of FIFREEZE. Each was seen on Linux 6.18.
func freezeError(mountpoint string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("freeze %s: %w: it is already frozen, by another program; fsfreeze --unfreeze %s thaws it: %w",
			mountpoint, ErrBusy, mountpoint, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("freeze %s: %w: this kind of file system can't be frozen: %w", mountpoint, ErrRefused, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("freeze %s: needs root (CAP_SYS_ADMIN): %w", mountpoint, err)
	}
	return fmt.Errorf("freeze %s: %w", mountpoint, err)
}
