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

// LookTarget tells what is at a path where we want to mount. It changes
// nothing, and follows no symbolic link anywhere on the path.
func LookTarget(path string) (Target, error) {
	t := Target{Path: path}
	if err := checkPath(path); err != nil {
		return t, err
	}
	dir, err := openDir(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		t.State = Absent
		return t, nil
	case errors.Is(err, unix.ELOOP):
		t.State, t.Detail = Unusable, "a symbolic link on the path"
		return t, nil
	case errors.Is(err, unix.ENOTDIR):
		t.State, t.Detail = Unusable, "not a directory"
		return t, nil
	case errors.Is(err, unix.ENAMETOOLONG):
		t.State, t.Detail = Unusable, "a name longer than file systems take"
		return t, nil
	case err != nil:
		return t, fmt.Errorf("look at %s: %w", path, err)
	}
	defer dir.Close()
	if err := t.look(dir); err != nil {
		return t, fmt.Errorf("look at %s: %w", path, err)
	}
	return t, nil
}

// look fills in what an open directory is.
func (t *Target) look(dir *os.File) error {
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
	case err != nil:
		return err
	default:
		t.State, t.Detail = Occupied, fmt.Sprintf("not empty: it holds %q", names[0])
	}
	return nil
}

// mountOf gives the mount whose top is the open directory at path. The mount
// id of the descriptor decides, where the kernel tells it (Linux 5.8): in
// mountinfo alone a mount hidden below another of a parent looks alive.
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

// openDir opens a directory without following any link.
func openDir(path string) (*os.File, error) {
	return openBelow(unix.AT_FDCWD, path, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
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

// makeDir opens a directory below base and makes what is missing of it: the
// directory itself with mode last, those above it 0755. base is closed.
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

// makeOne makes a directory with exactly this mode, whatever the umask.
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

// prepareTarget gives an empty directory of mode 000 at path, made if missing.
// Mode 000 keeps everybody but root from writing below a mount that is not
// there. A target that LookTarget finds unfit is ErrTarget.
func prepareTarget(t Target) (*os.File, error) {
	if err := t.fit(); err != nil {
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
	// Look again at what is open now: it may have been filled meanwhile.
	now := Target{Path: t.Path}
	if err = now.look(dir); err == nil {
		err = now.fit()
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

// fit tells why nothing can be mounted at the target.
func (t Target) fit() error {
	switch t.State {
	case Absent, Empty:
		return nil
	case Mounted:
		return fmt.Errorf("%w: %s is a mount of %s (%s) already", ErrTarget, t.Path, t.Mount.Source, t.Mount.FSType)
	}
	return fmt.Errorf("%w: %s: %s", ErrTarget, t.Path, t.Detail)
}

// coverIs000 checks what lies below a new mount, which dir still holds open.
func coverIs000(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&0o777 != 0 {
		return fmt.Errorf("directory below the mount has mode %03o, want 000", st.Mode&0o777)
	}
	return nil
}

// checkPath refuses what can't be a mountpoint whatever is there.
func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%w: %q is not a clean absolute path below /", ErrTarget, path)
	}
	return nil
}
