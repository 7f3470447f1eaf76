package mountfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Below reads files below a directory in which untrusted users can create links, FIFOs and
// possibly device files. A path never leaves the directory or its file system, and only
// regular files are opened.
type Below struct{ dir *os.File }

// OpenBelow opens the directory. Its path has no symbolic links, like a target in
// mountinfo.
func OpenBelow(dir string) (*Below, error) {
	f, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	return &Below{f}, nil
}

// Close closes the directory.
func (b *Below) Close() error { return b.dir.Close() }

// ReadFile reads the file at path. The path, and the destination of every link on it, is
// relative to the directory or starts with the directory's own path. ErrNotBelow: it leads
// elsewhere, or the file is not regular or is longer than most bytes.
func (b *Below) ReadFile(path string, most int64) (text []byte, err error) {
	at, err := b.find(path)
	if err != nil {
		return nil, fmt.Errorf("%s below %s: %w", path, b.dir.Name(), err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, fmt.Errorf("%s below %s: %w", path, b.dir.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > most {
		return nil, fmt.Errorf("%s below %s: %w", path, b.dir.Name(), ErrNotBelow)
	}
	// The descriptor is a regular file and stays so. Without O_NONBLOCK an open waits for a
	// process that has a lease on the file.
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", at), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, most))
}

// ReadCached reads from a regular file, by way of the page cache, where the data then is. The path
// is relative to the directory, without links, and leads to the file of this inode number.
// ErrNotBelow: there is another file, or none. The kernel reads nothing ahead.
func (b *Below) ReadCached(path string, inode uint64, buffer []byte, offset int64) (int, error) {
	at, err := unix.Openat2(int(b.dir.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotBelow, err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != inode {
		return 0, ErrNotBelow
	}
	// With O_NOATIME it writes nothing; that is for root and the file's owner. (open(2))
	file := fmt.Sprintf("/proc/self/fd/%d", at)
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM) // a hint
	return unix.Pread(fd, buffer, offset)
}

// linksMax is the most links on a path, as in the kernel (MAXSYMLINKS).
const linksMax = 40

// find returns an O_PATH descriptor of the file at path. It does not open the file: opening
// a device may have an effect, and opening a FIFO blocks.
func (b *Below) find(path string) (fd int, err error) {
	path, err = b.relative(path)
	for range linksMax {
		if err != nil {
			return -1, err
		}
		fd, err = b.lookUp(path, 0)
		if !errors.Is(err, unix.EXDEV) {
			return fd, err
		}
		// RESOLVE_BENEATH refuses absolute links, but one may lead back into the directory:
		// "current", which Capistrano makes, does.
		path, err = b.expand(path)
	}
	return -1, unix.ELOOP
}

func (b *Below) lookUp(path string, flags uint64) (int, error) {
	fd, err := unix.Openat2(int(b.dir.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "openat2", Path: path, Err: err}
	}
	return fd, nil
}

// relative returns path relative to the directory, also if it starts with the directory's
// own path.
func (b *Below) relative(path string) (string, error) {
	switch {
	case !filepath.IsAbs(path):
		return path, nil
	case path == b.dir.Name():
		return ".", nil
	case isBelow(path, b.dir.Name()):
		return strings.TrimLeft(strings.TrimPrefix(path, b.dir.Name()), "/"), nil
	}
	return "", ErrNotBelow
}

// expand replaces the first link on a path by its destination. It does not clean the path:
// the kernel must follow a ".." behind a link.
func (b *Below) expand(path string) (string, error) {
	names := strings.Split(path, "/")
	for i := range names {
		prefix := strings.Join(names[:i+1], "/")
		if prefix == "" {
			continue
		}
		fd, err := b.lookUp(prefix, unix.O_NOFOLLOW)
		if err != nil {
			return "", notBelow(err)
		}
		target, err := readLink(fd)
		unix.Close(fd)
		if err != nil {
			return "", err
		}
		if target == "" {
			continue
		}
		if !filepath.IsAbs(target) {
			target = strings.Join(append(append([]string{}, names[:i]...), target), "/")
		} else if target, err = b.relative(target); err != nil {
			return "", err
		}
		return strings.Join(append([]string{target}, names[i+1:]...), "/"), nil
	}
	return "", ErrNotBelow
}

func notBelow(err error) error {
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%w: %w", ErrNotBelow, err)
	}
	return err
}

// readLink returns the destination of an open link, or "" if it is not a link.
func readLink(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", err
	}
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buffer)
	return string(buffer[:max(n, 0)]), err
}
