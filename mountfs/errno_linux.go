package mountfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errnoMeaning says in words what mount(2) and umount2(2) mean by an errno
// when the file system is XFS. Each was seen on Linux 6.18.
func errnoMeaning(op string, err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	if op == "unmount" {
		switch errno {
		case unix.EBUSY:
			return "a process has a file open there or works in it"
		case unix.EINVAL:
			return "nothing is mounted there"
		}
		return ""
	}
	switch errno {
	case unix.EINVAL:
		return "not an XFS this kernel knows, an unknown mount option, or an XFS with the same UUID is mounted"
	case unix.EUCLEAN:
		return "the XFS is damaged: run xfs_repair on a copy"
	case unix.EBUSY:
		return "the device is in use, or this file system is already mounted there"
	case unix.EROFS:
		return "the XFS needs its log replayed, and the device is read-only"
	case unix.ENODEV:
		return "this kernel has no XFS"
	case unix.EPERM, unix.EACCES:
		return "needs root, or the device is read-only"
	}
	return ""
}

func isBusy(err error) bool { return errors.Is(err, unix.EBUSY) }
