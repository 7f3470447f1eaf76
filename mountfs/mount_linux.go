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

// MountXFS mounts the XFS on a device at target. Missing directories are made,
// the mountpoint with mode 000; an empty one gets that mode. The option nouuid
// is added only when another XFS with the same UUID is mounted, as a copy from
// the same snapshot is. A read-only device is mounted only when the options have
// ro, and its log needs no replay.
//
// Errors: ErrTarget when target is not empty, another mount or reached by a
// link; ErrBusy when the file system is mounted elsewhere other than by a bind
// of a directory; ErrRefused when there is no sound XFS, or none that this kernel
// mounts; ErrOption and ErrNoXFS; ErrWrongDevice when the node is not the device
// any more; *MountError with all that comes from the kernel.
func MountXFS(d Device, target string, options []string) (XFSMount, error) {
	flags, data, err := splitOptions(options)
	if err != nil {
		return XFSMount{}, err
	}
	t, err := LookTarget(target)
	if err != nil {
		return XFSMount{}, err
	}
	if t.State == Mounted && d.isMount(t.Mount) {
		return XFSMount{Already: true, NoUUID: slices.Contains(strings.Split(t.Mount.SuperOptions, ","), "nouuid")}, nil
	}
	if err := t.fit(); err != nil {
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
		// The superblock is sound. A twin may have been mounted since we looked, and
		// may be gone again; or an XFS is mounted whose UUID can't be read from here.
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
	return XFSMount{NoUUID: copied || asked}, coverIs000(dir)
}

// mount calls mount(2) on the directory that is open, so that nobody can put
// another in its place after the checks.
func (d Device) mount(dir *os.File, target string, flags uintptr, data []string) error {
	options := strings.Join(data, ",")
	if err := unix.Mount(d.Node, procFD(int(dir.Fd())), "xfs", flags, options); err != nil {
		return &MountError{Op: "mount", Source: d.Node, Target: target, Flags: flags, Data: options, Err: err}
	}
	return nil
}

// explain finds out what the kernel, which says more only in its log, may have
// meant by an errno: it gives the same one for an option and for a file system.
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
			refused.Why += "; or an option asks for what this kernel was built without"
		}
	case errors.Is(err, unix.ENODEV) && sb.RTBlocks == 0:
		// Not of this file system: the kernel has none.
	case errors.Is(err, unix.ENODEV):
		// XFS's word for a realtime volume that was not given.
		refused.Why = sb.obstacle()
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, unix.ENOSYS):
		refused.Why = sb.obstacle()
	}
	return err
}

// unknownOption asks the kernel, without mounting anything, for an option of XFS
// that it does not know; "" when it knows all, or does not tell.
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

// mountedElsewhere refuses a second mount of a whole file system: the kernel
// would allow it, with the first one's options. A bind of one of its
// directories may be there: it is what is left when only the mount was undone.
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

// verifyMount looks whether what is on top at target is the device's XFS: the
// node may have been given to another disk between the checks and mount(2).
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
		return fmt.Errorf("%w: mounted %s at %s, and device %d:%d (%s) is there", ErrWrongDevice, d.Node, target, m.Major, m.Minor, m.FSType)
	}
	return nil
}

// superblock reads the device's own superblock.
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

// uuidMounted looks through every XFS that this kernel has mounted, in
// whatever mount namespace, except that of the device called not. unknown
// means that there are some whose UUID can't be read from here.
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
		// stats and debug lie beside the devices, which have an error directory.
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

// uuidOf reads the UUID of the mounted XFS on the device that the kernel calls
// name. The UUID of a mounted XFS does not change, so the disk's word is good.
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

// Unmount unmounts what is on top at target, and fails while it is in use. It
// follows no symbolic link anywhere on the path. Errors: ErrTarget; *MountError,
// which is ErrBusy too while it is in use.
func Unmount(target string) error {
	if err := checkPath(target); err != nil {
		return err
	}
	// By the directory above, which is open: one of the mount itself would keep
	// it in use.
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
