package mountfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MountXFS mounts the XFS on a device at target. It creates missing directories, the
// mountpoint with mode 000; an empty one gets that mode. It adds the option nouuid only
// when another XFS with the same UUID is mounted, such as a copy from the same snapshot. It
// mounts a read-only device only if the options contain ro and its log needs no replay.
//
// Errors: ErrTarget when target is not empty, another mount, or behind a symbolic link;
// ErrBusy when the file system is mounted elsewhere other than by a bind of a directory;
// ErrRefused when there is no sound XFS, or none that this kernel mounts; ErrOption and
// ErrNoXFS; ErrWrongDevice when the node is another device now; *MountError around all
// errors of the kernel.
func MountXFS(d Device, target string, options []string) (XFSMount, error) {
	flags, data, err := splitOptions(options)
	if err != nil {
		return XFSMount{}, err
	}
	t, err := InspectTarget(target)
	if err != nil {
		return XFSMount{}, err
	}
	if t.State == Mounted && d.isMount(t.Mount) {
		return XFSMount{Already: true, NoUUID: slices.Contains(strings.Split(t.Mount.SuperOptions, ","), "nouuid")}, nil
	}
	if err := t.usable(); err != nil {
		return XFSMount{}, err
	}
	if err := d.mountedElsewhere(); err != nil {
		return XFSMount{}, err
	}
	sb, err := d.superblock()
	if err != nil {
		return XFSMount{}, err
	}
	if LargerThan(sb, d.Size) {
		return XFSMount{}, fmt.Errorf("%w: %s: its XFS is larger than the device", ErrRefused, d.Node)
	}
	if d.ReadOnly && flags&unix.MS_RDONLY == 0 {
		return XFSMount{}, fmt.Errorf("%w: %s is a read-only device: the mount option ro is needed", ErrRefused, d.Node)
	}
	copied, _ := uuidMounted(sb.UUID, filepath.Base(d.Node))
	asked := slices.Contains(data, "nouuid")

	dir, err := prepareTarget(t)
	if err != nil {
		return XFSMount{}, err
	}
	defer dir.Close()
	if copied && !asked {
		data = append(data, "nouuid")
	}
	err = d.mount(dir, target, flags, data)
	if errors.Is(err, unix.EINVAL) && !copied && !asked {
		// The superblock is sound. Either a file system with the same UUID was mounted
		// after the check, and may be unmounted again by now, or an XFS is mounted whose
		// UUID can't be read from here.
		meanwhile, unreadable := uuidMounted(sb.UUID, filepath.Base(d.Node))
		if copied = meanwhile || unreadable; copied {
			data = append(data, "nouuid")
		}
		err = d.mount(dir, target, flags, data)
	}
	if err != nil {
		return XFSMount{}, explain(err, sb, data)
	}
	if err := d.verifyMount(target); err != nil {
		return XFSMount{}, errors.Join(err, unmountDir(dir, target))
	}
	return XFSMount{NoUUID: copied || asked}, checkCoveredMode(dir)
}

// mount calls mount(2) on the open directory, so that nobody can replace it after the
// checks.
func (d Device) mount(dir *os.File, target string, flags uintptr, data []string) error {
	options := strings.Join(data, ",")
	if err := unix.Mount(d.Node, procFD(int(dir.Fd())), "xfs", flags, options); err != nil {
		return &MountError{Op: "mount", Source: d.Node, Target: target, Flags: flags, Data: options, Err: err}
	}
	return nil
}

// explain adds the likely meaning of an errno: the kernel has the same one for an option
// and for a file system, and writes more only to its log.
func explain(err error, sb Superblock, options []string) error {
	var refused *MountError
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case errors.Is(err, unix.EINVAL):
		if o := unknownOption(options); o != "" {
			refused.Why = "no such option, or not with this value"
			return fmt.Errorf("%w: %q: %w", ErrOption, o, err)
		}
		refused.Why = sb.obstacle()
		if len(options) > 0 {
			refused.Why += "; or an option needs a feature that this kernel was built without"
		}
	case errors.Is(err, unix.ENODEV) && sb.RTBlocks == 0:
		// Not about this file system: the kernel has no XFS.
	case errors.Is(err, unix.ENODEV):
		// XFS's errno for a missing realtime volume.
		refused.Why = sb.obstacle()
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, unix.ENOSYS):
		refused.Why = sb.obstacle()
	}
	return err
}

// CheckKnown returns ErrOption for the first option that the kernel's XFS does not know, or not
// with its value. It mounts nothing. nil also means that the kernel does not say.
func CheckKnown(options []string) error {
	if o := unknownOption(XFSOptions(options)); o != "" {
		return fmt.Errorf("%w: %q", ErrOption, o)
	}
	return nil
}

// unknownOption returns the first option that the kernel's XFS does not know, without
// mounting anything; "" when it knows all or does not say.
func unknownOption(options []string) string {
	fd, err := unix.Fsopen("xfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	for _, o := range options {
		key, value, ok := strings.Cut(o, "=")
		if ok {
			err = unix.FsconfigSetString(fd, key, value)
		} else {
			err = unix.FsconfigSetFlag(fd, key)
		}
		if errors.Is(err, unix.EINVAL) {
			return o
		}
	}
	return ""
}

// isMount reports whether m is the device's whole XFS.
func (d Device) isMount(m Mount) bool {
	return m.FSType == "xfs" && m.Root == "/" && m.Major == d.Major && m.Minor == d.Minor
}

// mountedElsewhere refuses a second mount of a whole file system: the kernel would allow
// it, with the first one's options. A bind of one of its directories may remain after an
// undone mount.
func (d Device) mountedElsewhere() error {
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	for _, m := range d.mounts(mounts) {
		if m.Root == "/" {
			return fmt.Errorf("%w: %s is mounted at %s", ErrBusy, d.Node, m.Target)
		}
	}
	return nil
}

// verifyMount checks that the topmost mount at target is the device's XFS: the node may
// have become another disk between the checks and mount(2).
func (d Device) verifyMount(target string) error {
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	m, ok := MountAt(mounts, target)
	if !ok {
		return fmt.Errorf("%w: %s was mounted, but %s is not a mountpoint now", ErrTarget, d.Node, target)
	}
	if !d.isMount(m) {
		return fmt.Errorf("%w: mounted %s at %s, but device %d:%d (%s) is there", ErrWrongDevice, d.Node, target, m.Major, m.Minor, m.FSType)
	}
	return nil
}

// superblock reads the device's superblock.
func (d Device) superblock() (Superblock, error) {
	f, err := os.Open(d.Node)
	if err != nil {
		return Superblock{}, err
	}
	defer f.Close()
	disk := Disk{device: d, file: f}
	if err := disk.verify(); err != nil {
		return Superblock{}, fmt.Errorf("%s: %w", d.Node, err)
	}
	sb, err := readSuperblock(f)
	if err == nil && sb.InProgress {
		err = errors.New("XFS that mkfs did not finish")
	}
	if err != nil {
		return Superblock{}, fmt.Errorf("%w: %s: %w", ErrRefused, d.Node, err)
	}
	return sb, nil
}

func readSuperblock(r io.ReaderAt) (Superblock, error) {
	b := make([]byte, sectorMax)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Superblock{}, err
	}
	return ParseSuperblock(b[:n])
}

// uuidMounted searches all XFS that this kernel has mounted, in every mount namespace,
// except that of the device called not. unknown means that the UUID of some can't be read
// from here.
func uuidMounted(uuid, not string) (mounted, unknown bool) {
	dirs, err := os.ReadDir("/sys/fs/xfs")
	if err != nil {
		return false, true
	}
	for _, dir := range dirs {
		name := dir.Name()
		if name == not {
			continue
		}
		// Only devices have an error directory; stats and debug do not.
		if _, err := os.Stat(filepath.Join("/sys/fs/xfs", name, "error")); err != nil {
			continue
		}
		switch got, err := uuidOf(name); {
		case err != nil:
			unknown = true
		case got == uuid:
			return true, unknown
		}
	}
	return false, unknown
}

// uuidOf reads the UUID of the mounted XFS on the device that the kernel calls name. The
// UUID of a mounted XFS does not change, so that on the disk is current.
func uuidOf(name string) (string, error) {
	f, err := os.Open(filepath.Join("/dev", name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	number, err := os.ReadFile(filepath.Join("/sys/class/block", name, "dev"))
	if err != nil {
		return "", err
	}
	if want := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)); want != string(bytes.TrimSpace(number)) {
		return "", fmt.Errorf("%w: /dev/%s", ErrWrongDevice, name)
	}
	sb, err := readSuperblock(f)
	return sb.UUID, err
}

// Unmount unmounts the topmost mount at target, and fails while it is in use. It follows no
// symbolic link on the path. Errors: ErrTarget; *MountError, which also is ErrBusy while
// the mount is in use.
func Unmount(target string) error {
	if err := checkPath(target); err != nil {
		return err
	}
	// Through the parent directory: a descriptor of the mount itself would keep it in use.
	above, err := openDir(filepath.Dir(target))
	if err != nil {
		return fmt.Errorf("%w: unmount %s: %w", ErrTarget, target, err)
	}
	defer above.Close()
	path := filepath.Join(procFD(int(above.Fd())), filepath.Base(target))
	if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
		return &MountError{Op: "unmount", Target: target, Err: err}
	}
	return nil
}

// unmountDir undoes a mount on a directory that is still open.
func unmountDir(dir *os.File, target string) error {
	if err := unix.Unmount(procFD(int(dir.Fd())), 0); err != nil {
		return &MountError{Op: "unmount", Target: target, Err: err}
	}
	return nil
}
