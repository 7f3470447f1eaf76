package mountfs

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinel errors, by consequence for the caller. Test with errors.Is.
var (
	// ErrNoDevice: the volume has no device node (yet).
	ErrNoDevice = errors.New("no device for the volume")
	// ErrWrongDevice: a node has the volume's name or link, but another serial or size.
	ErrWrongDevice = errors.New("not the volume's device")
	// ErrRefused: data on the device, or a state of it, that we must not change.
	ErrRefused = errors.New("refused")
	// ErrBusy: the device, or a mount of it, is in use.
	ErrBusy = errors.New("in use")
	// ErrTarget: a mountpoint or bind target can't be used: not empty, another mount, a
	// symbolic link on the path, not a directory.
	ErrTarget = errors.New("target can't be used")
	// ErrProtected: a mountpoint or bind target can't be created or prepared, because a
	// directory is immutable or on a read-only file system.
	ErrProtected = errors.New("read-only")
	// ErrShutdown: the kernel has shut down a mounted XFS after an I/O error or damage. All
	// access fails until it is unmounted.
	ErrShutdown = errors.New("the file system has shut down, or its device fails")
	// ErrNoMkfs: the program mkfs.xfs is missing.
	ErrNoMkfs = errors.New("mkfs.xfs not found: install xfsprogs")
	// ErrOption: this kernel's XFS does not know a mount option.
	ErrOption = errors.New("mount option unknown to this kernel")
	// ErrNoXFS: this kernel has no XFS.
	ErrNoXFS = errors.New("this kernel has no XFS")
	// ErrUnsupported: this is not Linux.
	ErrUnsupported = errors.New("needs Linux")
)

// MountError is a mount, bind or unmount that the kernel refused.
type MountError struct {
	Op     string  // "mount", "bind", "unmount"
	Source string  // device node or directory, "" for unmount
	Target string  // directory
	Flags  uintptr // MS_ flags
	Data   string  // file system options
	Err    error   // the kernel's errno
	Why    string  // the meaning in this case; "" for the general meaning of the errno
}

// Error returns the operation, the errno, and its meaning for XFS.
func (e *MountError) Error() string {
	var s strings.Builder
	s.WriteString(e.Op)
	if e.Source != "" {
		fmt.Fprintf(&s, " %s on", e.Source)
	}
	fmt.Fprintf(&s, " %s", e.Target)
	if e.Flags != 0 {
		fmt.Fprintf(&s, " (flags %#x)", e.Flags)
	}
	if e.Data != "" {
		fmt.Fprintf(&s, " (options %s)", e.Data)
	}
	fmt.Fprintf(&s, ": %v", e.Err)
	why := e.Why
	if why == "" {
		why = errnoMeaning(e.Op, e.Err)
	}
	if why != "" {
		fmt.Fprintf(&s, ": %s", why)
	}
	return s.String()
}

// Unwrap returns the kernel's errno.
func (e *MountError) Unwrap() error { return e.Err }

// Is maps the errno to ErrBusy, ErrNoXFS, or ErrRefused for a file system that the kernel
// does not mount as it is.
func (e *MountError) Is(target error) bool {
	return target != nil && target == errnoKind(e.Op, e.Err)
}
