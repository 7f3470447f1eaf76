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

// InspectTarget inspects a mountpoint or bind target. It changes nothing and follows no
// symbolic link on the path.
func InspectTarget(path string) (Target, error) {
	t := Target{Path: path}
	if err := checkPath(path); err != nil {
		return t, err
	}
	dir, err := openDir(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		t.absent()
		return t, nil
	case errors.Is(err, unix.ELOOP):
		t.State, t.Detail = Unusable, "a symbolic link on the path"
		return t, nil
	case errors.Is(err, unix.ENOTDIR):
		t.State, t.Detail = Unusable, "not a directory"
		return t, nil
	case errors.Is(err, unix.ENAMETOOLONG):
		t.State, t.Detail = Unusable, "a name longer than file systems permit"
		return t, nil
	case err != nil:
		return t, fmt.Errorf("inspect %s: %w", path, err)
	}
	defer dir.Close()
	if err := t.inspect(dir); err != nil {
		return t, fmt.Errorf("inspect %s: %w", path, err)
	}
	return t, nil
}

// absent fills in the state of a missing directory.
func (t *Target) absent() {
	t.State, t.Missing = Absent, t.Path
	above := filepath.Dir(t.Path)
	for ; above != "/"; above = filepath.Dir(above) {
		if _, err := os.Lstat(above); err == nil {
			break
		}
		t.Missing = above
	}
	if why := protection(above); why != "" {
		t.State, t.Detail = Protected, "can't be created: "+above+" is "+why
	}
}

// protection says why a directory can't be changed even by root, "" if it can. For an
// immutable one access(2) is EPERM. (inode_permission in the kernel's fs/namei.c)
func protection(dir string) string {
	switch err := unix.Access(dir, unix.W_OK); {
	case errors.Is(err, unix.EROFS):
		return "on a read-only file system"
	case errors.Is(err, unix.EPERM):
		return "immutable (lsattr -d " + dir + ")"
	}
	return ""
}

// inspect fills in the state of an open directory.
func (t *Target) inspect(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	t.Mode, t.Dev, t.Ino = fs.FileMode(st.Mode&0o777), st.Dev, st.Ino
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	if m, ok := mountOf(mounts, t.Path, dir); ok {
		t.State, t.Mount = Mounted, m
		return nil
	}
	names, err := dir.Readdirnames(1)
	switch {
	case errors.Is(err, io.EOF):
		t.State = Empty
		if why := protection(procFD(int(dir.Fd()))); why != "" && t.Mode != 0 {
			t.State, t.Detail = Protected, fmt.Sprintf("its mode %03o can't be set to 000: it is %s", t.Mode, strings.Replace(why, procFD(int(dir.Fd())), t.Path, 1))
		}
	case err != nil:
		return err
	default:
		t.State, t.Detail = Occupied, fmt.Sprintf("not empty: it holds %q", names[0])
	}
	return nil
}

// mountOf returns the mount whose root is the open directory at path. The descriptor's
// mount id decides, if the kernel reports it (Linux 5.8): in mountinfo alone a mount that
// is hidden below another mount of a parent looks visible.
func mountOf(mounts []Mount, path string, dir *os.File) (Mount, bool) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return MountAt(mounts, path)
	}
	for _, m := range mounts {
		if uint64(m.ID) == st.Mnt_id && m.Target == path {
			return m, true
		}
	}
	return Mount{}, false
}

// openDir opens a directory without following symbolic links. On an XFS that has shut down
// every access is EIO, and openDir returns ErrShutdown. (xfs_is_shutdown in fs/xfs)
func openDir(path string) (*os.File, error) {
	dir, err := openBelow(unix.AT_FDCWD, path, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, unix.EIO) {
		return nil, fmt.Errorf("%w: %w", ErrShutdown, err)
	}
	return dir, err
}

func openBelow(dirFD int, path string, resolve uint64) (*os.File, error) {
	fd, err := unix.Openat2(dirFD, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: resolve,
	})
	if errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("%w 5.6 or newer (openat2)", ErrUnsupported)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// makeDir opens a directory below base and creates what is missing: the directory itself
// with mode last, its parents with 0755. It closes base.
func makeDir(base *os.File, path string, last uint32, resolve uint64) (*os.File, error) {
	names := strings.Split(path, "/")
	for i, name := range names {
		mode := uint32(0o755)
		if i == len(names)-1 {
			mode = last
		}
		next, err := openBelow(int(base.Fd()), name, resolve)
		if errors.Is(err, unix.ENOENT) {
			next, err = makeOne(base, name, mode, resolve)
		}
		base.Close()
		if err != nil {
			return nil, err
		}
		base = next
	}
	return base, nil
}

// makeOne creates a directory with exactly this mode, regardless of the umask.
func makeOne(base *os.File, name string, mode uint32, resolve uint64) (*os.File, error) {
	err := unix.Mkdirat(int(base.Fd()), name, mode)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	dir, openErr := openBelow(int(base.Fd()), name, resolve)
	if openErr != nil || err != nil {
		return dir, openErr
	}
	if err := unix.Fchmod(int(dir.Fd()), mode); err != nil {
		dir.Close()
		return nil, &fs.PathError{Op: "chmod", Path: name, Err: err}
	}
	return dir, nil
}

// prepareTarget opens the empty directory at path, with mode 000, and creates it if
// missing. Mode 000 keeps everybody but root from writing below the mountpoint while
// nothing is mounted. An unusable target is ErrTarget.
func prepareTarget(t Target) (*os.File, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	const noLinks = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	root, err := openDir("/")
	if err != nil {
		return nil, err
	}
	dir, err := makeDir(root, strings.TrimPrefix(t.Path, "/"), 0, noLinks)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrTarget, t.Path, err)
	}
	// Inspect the descriptor: the directory may not be empty any more.
	now := Target{Path: t.Path}
	if err = now.inspect(dir); err == nil {
		err = now.usable()
	}
	if err == nil && now.Mode != 0 {
		err = dir.Chmod(0)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// usable returns an error if nothing can be mounted at the target.
func (t Target) usable() error {
	switch t.State {
	case Absent, Empty:
		return nil
	case Mounted:
		return fmt.Errorf("%w: %s is already a mount of %s (%s)", ErrTarget, t.Path, t.Mount.Source, t.Mount.FSType)
	case Protected:
		return fmt.Errorf("%w: %s %s", ErrProtected, t.Path, t.Detail)
	}
	return fmt.Errorf("%w: %s: %s", ErrTarget, t.Path, t.Detail)
}

// checkCoveredMode checks the mode of the directory below a new mount, which dir still
// holds open.
func checkCoveredMode(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&0o777 != 0 {
		return fmt.Errorf("directory below the mount has mode %03o, want 000", st.Mode&0o777)
	}
	return nil
}

// checkPath refuses a path that can't be a mountpoint.
func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%w: %q is not a clean absolute path below /", ErrTarget, path)
	}
	return nil
}
