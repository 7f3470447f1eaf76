package mountfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// resolveBelow keeps a path on the volume: no links, no way up, no other mount.
const resolveBelow = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// Bind mounts the directory sub of the file system at mountpoint on target. A missing sub
// is created (0755) if create is set. A missing target is created with mode 000, and an
// empty one gets that mode. already means that target already was a mount of that
// directory, by device and inode.
//
// Errors: ErrRefused when sub leads outside or is missing; ErrTarget when mountpoint is not
// a mount, or when target is on the file system itself, not empty, or another mount.
func Bind(mountpoint, sub, target string, create bool) (already bool, err error) {
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("bind %s of %s on %s: %w", sub, mountpoint, target, err)
	}
	volume, dev, err := openVolume(mountpoint, sub, target)
	if err != nil {
		return fail(err)
	}
	defer volume.Close()
	t, err := InspectTarget(target)
	if err != nil {
		return fail(err)
	}
	source, err := openBelow(int(volume.Fd()), sub, resolveBelow)
	missing := errors.Is(err, unix.ENOENT)
	if err != nil && !missing {
		return fail(fmt.Errorf("%w: %w", ErrRefused, err))
	}
	if !missing {
		defer source.Close()
		if same, err := t.isMountOf(source); err != nil || same {
			return same, err
		}
	}
	if err := t.usable(); err != nil {
		return fail(err)
	}
	if err := checkOutside(dev, target); err != nil {
		return fail(err)
	}
	if missing {
		if !create {
			return fail(fmt.Errorf("%w: the file system has no directory %s", ErrRefused, sub))
		}
		if source, err = makeSub(volume, sub); err != nil {
			return fail(fmt.Errorf("%w: %w", ErrRefused, err))
		}
		defer source.Close()
	}
	dir, err := prepareTarget(t)
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	// Check again by descriptor: the path may lead elsewhere by now.
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fail(err)
	}
	if st.Dev == dev {
		return fail(fmt.Errorf("%w: it is on the file system itself", ErrTarget))
	}
	if err := bindFD(source, dir); err != nil {
		return false, &MountError{Op: "bind", Source: filepath.Join(mountpoint, sub), Target: target, Err: err}
	}
	if err := verifyBind(source, target); err != nil {
		return fail(errors.Join(err, unmountDir(dir, target)))
	}
	return false, checkCoveredMode(dir)
}

// verifyBind checks that the topmost mount at target is the open directory.
func verifyBind(source *os.File, target string) error {
	t, err := InspectTarget(target)
	if err != nil {
		return err
	}
	same, err := t.isMountOf(source)
	if err == nil && !same {
		err = fmt.Errorf("%w: another directory is there after the bind", ErrTarget)
	}
	return err
}

// CheckBind reports whether target is a mount of the directory sub of the file system at
// mountpoint, by device and inode.
func CheckBind(mountpoint, sub, target string) (ok bool, err error) {
	if err := checkSub(sub); err != nil {
		return false, err
	}
	t, err := InspectTarget(target)
	if err != nil || t.State != Mounted {
		return false, err
	}
	volume, _, err := openMounted(mountpoint)
	if errors.Is(err, ErrTarget) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer volume.Close()
	source, err := openBelow(int(volume.Fd()), sub, resolveBelow)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("check bind of %s: %w", sub, err)
	}
	defer source.Close()
	return t.isMountOf(source)
}

// SameFile reports whether two paths are the same file, by device and inode. It does not
// follow symbolic links.
func SameFile(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Lstat(a, &sa); err != nil {
		return false, fmt.Errorf("stat %s: %w", a, err)
	}
	if err := unix.Lstat(b, &sb); err != nil {
		return false, fmt.Errorf("stat %s: %w", b, err)
	}
	return sa.Dev == sb.Dev && sa.Ino == sb.Ino, nil
}

// checkSub refuses a directory name that could lead off the volume.
func checkSub(sub string) error {
	if !filepath.IsLocal(sub) || filepath.Clean(sub) != sub {
		return fmt.Errorf("%w: %q is not a clean path below the mountpoint", ErrRefused, sub)
	}
	return nil
}

// openVolume checks the three paths against each other and opens the mounted file system.
func openVolume(mountpoint, sub, target string) (*os.File, uint64, error) {
	if err := checkSub(sub); err != nil {
		return nil, 0, err
	}
	if err := checkPath(target); err != nil {
		return nil, 0, err
	}
	if isBelow(target, mountpoint) {
		return nil, 0, fmt.Errorf("%w: it lies inside the mountpoint", ErrTarget)
	}
	return openMounted(mountpoint)
}

// openMounted opens the file system mounted at mountpoint and returns its device number.
func openMounted(mountpoint string) (*os.File, uint64, error) {
	if err := checkPath(mountpoint); err != nil {
		return nil, 0, err
	}
	volume, err := openDir(mountpoint)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: nothing is mounted at %s: %w", ErrTarget, mountpoint, err)
	}
	// Inspect the descriptor: the path may lead elsewhere a moment later.
	m := Target{Path: mountpoint}
	if err = m.inspect(volume); err == nil && m.State != Mounted {
		err = fmt.Errorf("%w: nothing is mounted at %s", ErrTarget, mountpoint)
	}
	if err != nil {
		volume.Close()
		return nil, 0, err
	}
	return volume, m.Dev, nil
}

// checkOutside refuses a target on the file system itself, possibly through another bind:
// the target's directory would become part of the data.
func checkOutside(dev uint64, target string) error {
	for path := target; ; path = filepath.Dir(path) {
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil && st.Dev == dev {
			err = fmt.Errorf("%w: %s is on the file system itself", ErrTarget, path)
		}
		return err
	}
}

// makeSub creates a directory on the volume, mode 0755.
func makeSub(volume *os.File, sub string) (*os.File, error) {
	base, err := openBelow(int(volume.Fd()), ".", resolveBelow)
	if err != nil {
		return nil, err
	}
	return makeDir(base, sub, 0o755, resolveBelow)
}

// isMountOf reports whether the target is a mount of the open directory.
func (t Target) isMountOf(source *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &st); err != nil {
		return false, err
	}
	return t.State == Mounted && t.Dev == st.Dev && t.Ino == st.Ino, nil
}

// bindFD binds one open directory on another, without looking up a path.
func bindFD(source, target *os.File) error {
	tree, err := unix.OpenTree(int(source.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return unix.MoveMount(tree, "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}
