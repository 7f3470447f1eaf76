package mountfs

import (
	"path/filepath"
	"strings"
)

// Volume is an EBS volume, as EC2 describes it.
type Volume struct {
	ID   string // "vol-0123456789abcdef0"
	Name string // EC2's device name, "/dev/sdf"; "" if unknown
	Size int64  // bytes, 0 if unknown
}

// Device is the block device of a volume.
type Device struct {
	Node         string // "/dev/nvme1n1"
	Major, Minor uint32
	Size         int64 // bytes
	ReadOnly     bool
	By           string // identified by "serial", "link" or "name"
	// Seq is the kernel's disk sequence number, never used twice; 0 before Linux 5.15.
	// OpenDisk detects a reused node by it.
	Seq uint64
}

// ByID says whether the device was identified by the volume's id: the NVMe serial number,
// or a link of udev's. Otherwise only its name and size match.
func (d Device) ByID() bool { return d.By == "serial" || d.By == "link" }

// NVMe says whether the device is an NVMe disk, as all volumes of instances built on Nitro
// are.
func (d Device) NVMe() bool { return strings.HasPrefix(filepath.Base(d.Node), "nvme") }
