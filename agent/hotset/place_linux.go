package hotset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"snapsource/mountfs"

	"golang.org/x/sys/unix"
)

// below confines a look-up to what lies below a directory, in the same mount. Users may have put
// symbolic links, mounts and FIFOs there.
const below = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// openMountpoint opens the root directory of the file system at mountpoint, without following
// symbolic links.
func openMountpoint(mountpoint string) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, mountpoint, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: mountpoint, Err: err}
	}
	return os.NewFile(uintptr(fd), mountpoint), nil
}

// openBelow opens a file or directory below a directory, without a change of its access time. A
// FIFO or a lease does not delay it.
func openBelow(dir *os.File, path string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOATIME | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | flags,
		Resolve: below,
	}
	fd, err := unix.Openat2(int(dir.Fd()), path, &how)
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: path, Err: err}
	}
	// Without O_NONBLOCK from here on: else os.NewFile would try to poll each file.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NOATIME); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "fcntl", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ErrPlace means that the directory or file of the record is not root's, or not what it should be.
var ErrPlace = fmt.Errorf("%w: not a place for a record of a hot set", mountfs.ErrRefused)

// placeError adds ErrPlace where a link, a mount or a file lies in the way.
func placeError(err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("%w: %w", ErrPlace, err)
	}
	return err
}

// checkPlace checks the type and the owner of an open directory or file: root's own can't have been
// prepared by somebody else.
func checkPlace(f *os.File, kind uint32) (st unix.Stat_t, err error) {
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, err
	}
	if st.Mode&unix.S_IFMT != kind || st.Uid != 0 {
		return st, fmt.Errorf("%w: %s has mode %#o and belongs to user %d", ErrPlace, f.Name(), st.Mode, st.Uid)
	}
	return st, nil
}

// Load reads the record of the file system at mountpoint, for a device of deviceSize bytes. false:
// there is none. It follows no symbolic link and opens only a regular file of root's, of at most
// MaxBytes. Errors: ErrPlace, ErrInvalid.
func Load(mountpoint string, deviceSize int64) (Set, bool, error) {
	dir, err := openMountpoint(mountpoint)
	if err != nil {
		return Set{}, false, fmt.Errorf("hot set: %w", err)
	}
	defer dir.Close()
	return load(dir, deviceSize)
}

func load(root *os.File, deviceSize int64) (Set, bool, error) {
	dir, err := openBelow(root, Dir, unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return Set{}, false, nil
	}
	if err != nil {
		return Set{}, false, fmt.Errorf("hot set: %w", placeError(err))
	}
	defer dir.Close()
	if _, err := checkPlace(dir, unix.S_IFDIR); err != nil {
		return Set{}, false, fmt.Errorf("hot set: %w", err)
	}
	f, err := openBelow(dir, Name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Set{}, false, nil
	}
	if err != nil {
		return Set{}, false, fmt.Errorf("hot set: %w", placeError(err))
	}
	defer f.Close()
	st, err := checkPlace(f, unix.S_IFREG)
	if err == nil && st.Size > MaxBytes {
		err = fmt.Errorf("%w: %d bytes", ErrInvalid, st.Size)
	}
	if err != nil {
		return Set{}, false, fmt.Errorf("hot set: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return Set{}, false, fmt.Errorf("hot set: %w", err)
	}
	s, err := Decode(data, deviceSize)
	return s, err == nil, err
}

// openDir opens the directory of the record, and makes it if it is missing.
func openDir(root *os.File) (*os.File, error) {
	dir, err := openBelow(root, Dir, unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		if err := unix.Mkdirat(int(root.Fd()), Dir, 0o700); err != nil {
			return nil, &fs.PathError{Op: "mkdir", Path: Dir, Err: err}
		}
		dir, err = openBelow(root, Dir, unix.O_DIRECTORY)
	}
	if err != nil {
		return nil, placeError(err)
	}
	st, err := checkPlace(dir, unix.S_IFDIR)
	if err == nil && st.Mode&0o777 != 0o700 {
		err = dir.Chmod(0o700)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// write replaces the record.
func write(root *os.File, data []byte) (err error) {
	dir, err := openDir(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another run writes it: %w", err)
	}
	const temporary = Name + ".new"
	at := int(dir.Fd())
	if err := unix.Unlinkat(at, temporary, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unlink", Path: temporary, Err: err}
	}
	fd, err := unix.Openat(at, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: temporary, Err: err}
	}
	f := os.NewFile(uintptr(fd), temporary)
	_, err = f.Write(data)
	for _, next := range []func() error{func() error { return f.Chmod(0o600) }, f.Sync, f.Close} {
		err = errors.Join(err, next())
	}
	if err == nil {
		err = unix.Renameat(at, temporary, at, Name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(at, temporary, 0))
	}
	return dir.Sync()
}
