package mountfs

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Remount gives the mount at target these options, as far as they are options of a mount and
// not of the file system; see [FileSystemOptions]. The file system's other mounts keep theirs,
// but a read-only file system becomes writable if the options do not contain ro. A writer makes
// the kernel refuse ro. Errors: ErrTarget; *MountError, which also is ErrBusy.
func Remount(target string, options []string) error {
	flags, data, err := splitOptions(options)
	if err != nil {
		return err
	}
	if flags&accessTimes == 0 {
		flags |= msRelATime // without one the kernel keeps what the mount has (path_mount in fs/namespace.c)
	}
	dir, err := openDir(target)
	if err != nil {
		return fmt.Errorf("%w: remount %s: %w", ErrTarget, target, err)
	}
	defer dir.Close()
	remount := func(flags uintptr, data string) error {
		if err := unix.Mount("", procFD(int(dir.Fd())), "", flags, data); err != nil {
			return &MountError{Op: "remount", Target: target, Data: strings.Join(options, ","), Err: err, Why: remountMeaning(err)}
		}
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("remount %s: %w", target, err)
	}
	if st.Flags&unix.ST_RDONLY != 0 && flags&unix.MS_RDONLY == 0 {
		// Without MS_BIND the file system changes as well, so it needs its own options again.
		if err := remount(flags|unix.MS_REMOUNT, strings.Join(data, ",")); err != nil {
			return err
		}
	}
	// With MS_BIND only this mount's own flags change. (mount(2), "Remounting an existing mount")
	return remount(flags|unix.MS_REMOUNT|unix.MS_BIND, "")
}
