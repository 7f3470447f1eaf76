package mountfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errnoMeaning explains an errno of mount(2) or umount2(2) for an XFS. Each was seen on
// Linux 6.18.
func errnoMeaning(op string, err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	if op == "unmount" {
		switch errno {
		case unix.EBUSY:
			return "a process has a file open there or its working directory"
		case unix.EINVAL:
			return "nothing is mounted there"
		}
		return ""
	}
	switch errno {
	case unix.EINVAL:
		return "not an XFS this kernel knows, an unknown mount option, or an XFS with the same UUID is mounted"
	case unix.EUCLEAN, unix.EBADMSG:
		return "the XFS is damaged: run xfs_repair on a copy"
	case unix.EIO:
		return "part of the XFS can't be read, or is damaged: run xfs_repair on a copy"
	case unix.EBUSY:
		return "the device is in use, or this file system is already mounted there"
	case unix.EROFS:
		return "the XFS needs its log replayed, and the device is read-only"
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.EFBIG:
		return "the XFS needs a feature that this kernel was built without"
	case unix.ENODEV:
		return "this kernel has no XFS"
	case unix.ENOMEM:
		return "not enough memory"
	case unix.EPERM, unix.EACCES:
		return "needs root, or the device is read-only"
	}
	return ""
}

// errnoKind maps an errno to a sentinel, nil if none applies.
func errnoKind(op string, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nil
	}
	switch {
	case errno == unix.EBUSY:
		return ErrBusy
	case op != "mount":
		return nil
	}
	switch errno {
	case unix.EINVAL, unix.EUCLEAN, unix.EBADMSG, unix.EIO, unix.EROFS, unix.ENOSYS, unix.EOPNOTSUPP, unix.EFBIG:
		return ErrRefused
	case unix.ENODEV:
		return ErrNoXFS
	}
	return nil
}

// remountMeaning explains an errno of a remount.
func remountMeaning(err error) string {
	var errno unix.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.EBUSY:
		return "a process has a file open there for writing"
	case unix.EROFS:
		return "the file system, or its device, is read-only"
	case unix.EPERM, unix.EACCES:
		return "needs root"
	}
	return ""
}
