package mountfs

import (
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// identifyPage is the answer to the NVMe command Identify Controller. EC2 writes the device
// name of the attachment into the first bytes of the vendor's part, padded with blanks, with
// or without "/dev/". [amazon-ec2-utils ebsnvme, nvme_identify_controller]
type identifyPage [4096]byte

func (p *identifyPage) serial() string { return attributeText(p[4:24]) }
func (p *identifyPage) model() string  { return attributeText(p[24:64]) }
func (p *identifyPage) vendor() string { return attributeText(p[3072:3104]) }

// identifyFunc fills the page from the controller of an NVMe disk.
type identifyFunc func(node string, page *identifyPage) error

// reportedName matches the names of block device mappings: those that EC2 accepts for
// volumes, and those of root devices, which may end in a digit. (EC2 user guide, "Device
// names on Linux instances")
var reportedName = regexp.MustCompile(`^(sd|xvd|hd)[a-z]{1,2}[0-9]{0,2}$`)

// nameFrom returns the device name that the disk's controller reports, with "/dev/", and whether that
// is the name of a volume attached by the launch; "" if it cannot be asked, belongs to another volume,
// or reports no device name.
func nameFrom(ask identifyFunc, node, volume string) (name string, atLaunch bool) {
	page := new(identifyPage)
	if err := ask(node, page); err != nil {
		return "", false
	}
	if page.model() != ebsModel || page.serial() != serialOf(volume) {
		return "", false
	}
	name, later := strings.CutPrefix(page.vendor(), "/dev/")
	if !reportedName.MatchString(name) {
		return "", false
	}
	return "/dev/" + name, !later
}

// An admin command of NVMe, as struct nvme_admin_cmd of linux/nvme_ioctl.h.
type adminCommand struct {
	opcode, flags uint8
	_             uint16
	namespace     uint32
	_, _          uint32
	metadata      uint64
	address       uint64
	metadataLen   uint32
	dataLen       uint32
	dword         [6]uint32 // cdw10 to cdw15
	timeout       uint32    // ms
	_             uint32
}

const (
	nvmeAdminCommand   = 0xC0484E41 // NVME_IOCTL_ADMIN_CMD: _IOWR('N', 0x41, 72 bytes)
	identifyOpcode     = 0x06
	identifyController = 1 // CNS, in cdw10

	// A controller answers in far less than a millisecond. The kernel resets one that lets a
	// command time out, so the limit is generous; the kernel's own is 60 s.
	identifyTimeout = 5 * time.Second
)

// identify asks the controller of the disk at node. It needs CAP_SYS_ADMIN.
func identify(node string, page *identifyPage) error {
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	command := adminCommand{
		opcode:  identifyOpcode,
		address: uint64(uintptr(unsafe.Pointer(page))),
		dataLen: uint32(len(page)),
		dword:   [6]uint32{identifyController},
		timeout: uint32(identifyTimeout / time.Millisecond),
	}
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), nvmeAdminCommand, uintptr(unsafe.Pointer(&command)))
	runtime.KeepAlive(page)
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	if status != 0 { // an NVMe status
		return unix.EIO
	}
	return nil
}
