package mountfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ebsModel is the model of the NVMe controllers of EBS volumes; instance store volumes have
// another one. [amazon-ec2-utils ebsnvme]
const ebsModel = "Amazon Elastic Block Store"

// VolumeDevices lists the EBS volumes whose devices the kernel shows. See
// [Host.VolumeDevices].
func VolumeDevices() ([]VolumeDevice, error) { return thisHost().VolumeDevices() }

// VolumeDevices lists the EBS volumes whose devices the kernel shows, each once: the NVMe
// disks with EBS's model and a volume's serial number, then the volumes whose by-id links
// [Host.Find] accepts. A Xen disk is not listed: nothing on the host tells its volume.
//
// It reads a few files of sysfs, and asks each NVMe controller once for the device name.
func (h Host) VolumeDevices() ([]VolumeDevice, error) { return h.volumeDevices(identify) }

func (h Host) volumeDevices(ask identifyFunc) ([]VolumeDevice, error) {
	found, err := h.volumesBySerial()
	if err != nil {
		return nil, fmt.Errorf("list the devices of volumes: %w", err)
	}
	linked, err := h.volumesByLink(found)
	if err != nil {
		return nil, fmt.Errorf("list the devices of volumes: %w", err)
	}
	found = append(found, linked...)
	for i := range found {
		if found[i].Device.NVMe() {
			found[i].Name, found[i].AtLaunch = nameFrom(ask, found[i].Device.Node, found[i].Volume)
		}
	}
	return found, nil
}

func (h Host) volumesBySerial() ([]VolumeDevice, error) {
	disks, err := os.ReadDir(filepath.Join(h.Sys, "block"))
	if err != nil {
		return nil, err
	}
	var found []VolumeDevice
	for _, disk := range disks {
		name := disk.Name()
		if !nvmeDisk.MatchString(name) || h.attribute(name, "device/model") != ebsModel {
			continue
		}
		volume, ok := volumeOf(h.serial(name))
		if !ok || listed(found, volume) {
			continue
		}
		d, err := h.device(name, "serial")
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, VolumeDevice{Volume: volume, Device: d})
	}
	return found, nil
}

// volumesByLink returns the volumes with a by-id link that are not among known.
func (h Host) volumesByLink(known []VolumeDevice) ([]VolumeDevice, error) {
	links, err := os.ReadDir(filepath.Join(h.Dev, "disk/by-id"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []VolumeDevice
	for _, link := range links {
		volume, ok := volumeOfLink(link.Name())
		if !ok || listed(known, volume) || listed(found, volume) {
			continue
		}
		d, err := h.Find(Volume{ID: volume})
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, VolumeDevice{Volume: volume, Device: d})
	}
	return found, nil
}

// absent says that the kernel shows no device, or another one, for a volume.
func absent(err error) bool {
	return errors.Is(err, ErrNoDevice) || errors.Is(err, ErrWrongDevice)
}

func listed(found []VolumeDevice, volume string) bool {
	for _, f := range found {
		if f.Volume == volume {
			return true
		}
	}
	return false
}

// volumeOf returns the id of the volume with an NVMe serial number.
func volumeOf(serial string) (id string, ok bool) {
	hex, ok := strings.CutPrefix(serial, "vol")
	id = "vol-" + hex
	return id, ok && volumeForm.MatchString(id)
}

// volumeOfLink returns the id of the volume that a name under /dev/disk/by-id is made for,
// in one of the forms of linksOf.
func volumeOfLink(link string) (id string, ok bool) {
	serial, ok := strings.CutPrefix(link, linkPrefix)
	if !ok {
		return "", false
	}
	serial = strings.TrimSuffix(strings.TrimSuffix(serial, "_1"), "-ns-1")
	return volumeOf(serial)
}
