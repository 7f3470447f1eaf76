package mountfs

import (
	"path/filepath"
	"strings"
)

// Volume is what EC2 says about an EBS volume that we look for.
type Volume struct {
	ID   string // "vol-0123456789abcdef0"
	Name string // EC2's device name, "/dev/sdf"; "" if unknown
	Size int64  // bytes, 0 if unknown
}

// Device is the kernel's side of a volume.
type Device struct {
	Node         string // "/dev/nvme1n1"
	Major, Minor uint32
	Size         int64 // bytes
	ReadOnly     bool
	By           string // how it was found: "serial", "link" or "name"
	// Seq is the kernel's number for this use of the node, never given twice;
	// 0 before Linux 5.15. With it OpenDisk sees that a node was reused.
	Seq uint64
}

// ByID says whether the volume's id is what the device was found by: the kernel shows
// it as the serial number, or udev by a link. Otherwise only its name and size agree.
func (d Device) ByID() bool { return d.By == "serial" || d.By == "link" }

// NVMe says whether the device is an NVMe disk, as all volumes are on instances that are
// built on Nitro.
func (d Device) NVMe() bool { return strings.HasPrefix(filepath.Base(d.Node), "nvme") }
