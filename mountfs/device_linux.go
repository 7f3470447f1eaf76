package mountfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is the location of sysfs and /dev. The package's functions use the real ones; tests
// use another tree.
type Host struct {
	Sys string // "/sys"
	Dev string // "/dev"
}

func thisHost() Host { return Host{Sys: "/sys", Dev: "/dev"} }

var (
	nvmeDisk = regexp.MustCompile(`^nvme\d+n\d+$`) // not nvme0c1n1, a hidden path of a multipath disk
	// volumeForm matches EC2's volume ids, old and new. They become part of a path under /dev.
	volumeForm = regexp.MustCompile(`^vol-([0-9a-f]{8}|[0-9a-f]{17})$`)
	// deviceName matches the names that EC2 accepts, or once accepted, for a volume.
	deviceName = regexp.MustCompile(`^[a-z]{2,5}[0-9]{0,3}$`)
	xvdDisk    = regexp.MustCompile(`^xvd[a-z]{1,2}$`)
)

// Find returns the volume's device on this host. See [Host.Find].
func Find(v Volume) (Device, error) { return thisHost().Find(v) }

// Find returns the volume's device:
//
//  1. the NVMe disk with the volume's serial number. That is proof, whatever
//     its size: EC2 may have enlarged the volume since.
//  2. a by-id link of the volume, unless the disk it leads to has another
//     serial (a link may be stale after a quick detach and attach) or another
//     size.
//  3. the Xen name, only if it is a Xen disk, has no serial, and has exactly
//     the volume's size.
//
// Errors: ErrNoDevice, ErrWrongDevice; ErrRefused for an invalid volume id.
func (h Host) Find(v Volume) (Device, error) {
	if !volumeForm.MatchString(v.ID) {
		return Device{}, fmt.Errorf("%w: find device: %q is not a volume id", ErrRefused, v.ID)
	}
	var wrong error
	for _, find := range []func(Volume) (Device, error){h.bySerial, h.byLink, h.byName} {
		d, err := find(v)
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, ErrWrongDevice):
			// Try the next way: a stale link says nothing about it.
			wrong = errors.Join(wrong, err)
		case !errors.Is(err, ErrNoDevice):
			return Device{}, fmt.Errorf("find device of %s: %w", v.ID, err)
		}
	}
	if wrong == nil {
		wrong = ErrNoDevice
	}
	return Device{}, fmt.Errorf("find device of %s: %w", v.ID, wrong)
}

func (h Host) bySerial(v Volume) (Device, error) {
	disks, err := os.ReadDir(filepath.Join(h.Sys, "block"))
	if err != nil {
		return Device{}, err
	}
	for _, disk := range disks {
		if name := disk.Name(); nvmeDisk.MatchString(name) && h.serial(name) == serialOf(v.ID) {
			return h.device(name, "serial")
		}
	}
	return Device{}, ErrNoDevice
}

func (h Host) byLink(v Volume) (Device, error) {
	var wrong error
	for _, link := range linksOf(v.ID) {
		link = filepath.Join(h.Dev, "disk/by-id", link)
		d, err := h.follow(link, "link")
		if err == nil {
			err = h.contradicts(v, d, link)
		}
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, ErrNoDevice) {
			wrong = errors.Join(wrong, err)
		}
	}
	if wrong != nil {
		return Device{}, wrong
	}
	return Device{}, ErrNoDevice
}

// byName accepts Xen disks only. If the kernel has another kind of disk under the name that
// EC2 uses, for instance on an instance with SCSI or loop devices, nothing ties it to the
// volume: the name is a coincidence.
func (h Host) byName(v Volume) (Device, error) {
	if v.Size == 0 {
		return Device{}, ErrNoDevice // a name without the size proves nothing
	}
	for _, name := range namesOf(v.Name) {
		path := filepath.Join(h.Dev, name)
		d, err := h.follow(path, "name")
		if errors.Is(err, ErrNoDevice) {
			continue
		}
		if err == nil && !xvdDisk.MatchString(filepath.Base(d.Node)) {
			continue
		}
		if err == nil {
			err = h.contradicts(v, d, path)
		}
		return d, err
	}
	return Device{}, ErrNoDevice
}

// contradicts returns the evidence that d, found at path, is not the volume.
func (h Host) contradicts(v Volume, d Device, path string) error {
	if serial := h.serial(filepath.Base(d.Node)); serial != "" && serial != serialOf(v.ID) {
		return fmt.Errorf("%w: %s is %s, whose serial is %s", ErrWrongDevice, path, d.Node, serial)
	}
	if v.Size != 0 && d.Size != v.Size {
		return fmt.Errorf("%w: %s is %s, which has %d bytes; the volume has %d", ErrWrongDevice, path, d.Node, d.Size, v.Size)
	}
	return nil
}

// follow returns the whole disk that a path under /dev leads to.
func (h Host) follow(path, by string) (Device, error) {
	node, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Device{}, ErrNoDevice
	}
	if err != nil {
		return Device{}, err
	}
	if filepath.Dir(node) != filepath.Clean(h.Dev) {
		return Device{}, fmt.Errorf("%w: %s leads to %s", ErrWrongDevice, path, node)
	}
	return h.device(filepath.Base(node), by)
}

// device reads what the kernel reports about the whole disk called name.
func (h Host) device(name, by string) (Device, error) {
	d := Device{Node: filepath.Join(h.Dev, name), By: by}
	var st unix.Stat_t
	switch err := unix.Lstat(d.Node, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return Device{}, ErrNoDevice // in sysfs already, not yet in devtmpfs
	case err != nil:
		return Device{}, &fs.PathError{Op: "lstat", Path: d.Node, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFBLK:
		return Device{}, fmt.Errorf("%w: %s is not a block device", ErrWrongDevice, d.Node)
	}
	d.Major, d.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	// Only whole disks have a directory here: a partition is not the volume.
	number := h.attribute(name, "dev")
	if number == "" {
		return Device{}, fmt.Errorf("%w: %s is not a whole disk", ErrWrongDevice, d.Node)
	}
	if number != fmt.Sprintf("%d:%d", d.Major, d.Minor) {
		return Device{}, fmt.Errorf("%w: %s is device %d:%d, but the kernel's %s is %s", ErrWrongDevice, d.Node, d.Major, d.Minor, name, number)
	}
	sectors, err := strconv.ParseInt(h.attribute(name, "size"), 10, 64)
	if err != nil {
		return Device{}, fmt.Errorf("size of %s: %w", name, err)
	}
	if sectors == 0 {
		return Device{}, ErrNoDevice // not ready, or a loop device without a file
	}
	d.Size = sectors * 512 // sysfs uses units of 512 bytes, whatever the sector size
	d.ReadOnly = h.attribute(name, "ro") == "1"
	d.Seq, _ = strconv.ParseUint(h.attribute(name, "diskseq"), 10, 64)
	return d, nil
}

// serial returns a disk's NVMe serial number, "" if it has none. The kernel prints the
// whole 20-byte field, padded.
func (h Host) serial(name string) string { return h.attribute(name, "device/serial") }

// attribute reads a file in a disk's sysfs directory; "" if it is missing.
func (h Host) attribute(name, file string) string {
	b, err := os.ReadFile(filepath.Join(h.Sys, "block", name, file))
	if err != nil {
		return ""
	}
	return attributeText(b)
}

// attributeText removes the trailing newline and the padding of a fixed-width field.
func attributeText(b []byte) string { return strings.Trim(string(b), " \x00\n\t") }

// serialOf returns the NVMe serial number of a volume: its id without the hyphen.
// [amazon-ec2-utils ebsnvme]
func serialOf(id string) string { return strings.Replace(id, "-", "", 1) }

const linkPrefix = "nvme-Amazon_Elastic_Block_Store_"

// linksOf returns the names that udev gives a volume under /dev/disk/by-id: two by
// systemd's 60-persistent-storage.rules, one by amazon-ec2-utils.
func linksOf(id string) []string {
	name := linkPrefix + serialOf(id)
	return []string{name, name + "_1", name + "-ns-1"}
}

// namesOf returns the possible names under /dev, on a Xen instance, of a volume attached as
// name: /dev/sdf is xvdf, or sdf where the system has a link of that name.
func namesOf(name string) []string {
	name = strings.TrimPrefix(name, "/dev/")
	if !deviceName.MatchString(name) {
		return nil
	}
	if letters, ok := strings.CutPrefix(name, "sd"); ok {
		return []string{"xvd" + letters, name}
	}
	return []string{name}
}
