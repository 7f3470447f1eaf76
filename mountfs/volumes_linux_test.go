package mountfs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"snapsource/mountfs/looptest"
)

// ebs adds an NVMe disk with the model of EBS.
func (f tree) ebs(name, serial string, minor uint32) {
	f.t.Helper()
	f.disk(name, serial, minor, 5*gib)
	f.write(filepath.Join(f.host.Sys, "block", name, "device/model"), ebsModel+"              \n")
}

var volumeDevicesTests = []struct {
	name  string
	build func(tree)
	want  string // volume@node by, …
}{
	{"nothing", func(tree) {}, ""},
	{"two volumes", func(f tree) {
		f.ebs("nvme0n1", otherSerial, 0)
		f.ebs("nvme1n1", serial, 1)
	}, "vol-0ffffffffffffffff@nvme0n1 serial, vol-0123456789abcdef0@nvme1n1 serial"},
	{"an old id, padded", func(f tree) { f.ebs("nvme1n1", "vol12345678         ", 1) }, "vol-12345678@nvme1n1 serial"},
	{"instance store", func(f tree) {
		f.disk("nvme1n1", serial, 1, 5*gib)
		f.write(f.host.Sys+"/block/nvme1n1/device/model", "Amazon EC2 NVMe Instance Storage\n")
	}, ""},
	{"a serial that is no volume", func(f tree) { f.ebs("nvme1n1", "AWS0123456789ABCDEF0", 1) }, ""},
	{"a serial with more digits", func(f tree) { f.ebs("nvme1n1", serial+"0", 1) }, ""},
	{"no serial", func(f tree) { f.ebs("nvme1n1", "", 1) }, ""},
	{"hidden path", func(f tree) { f.ebs("nvme1c0n1", serial, 1) }, ""},
	{"not NVMe", func(f tree) { f.ebs("sda", serial, 1) }, ""},
	{"no node yet", func(f tree) {
		f.ebs("nvme1n1", serial, 1)
		os.Remove(f.host.Dev + "/nvme1n1")
	}, ""},
	{"two disks of one serial", func(f tree) {
		f.ebs("nvme1n1", serial, 1)
		f.ebs("nvme2n1", serial, 2)
	}, "vol-0123456789abcdef0@nvme1n1 serial"},
	{"a serial and its links", func(f tree) {
		f.ebs("nvme1n1", serial, 1)
		f.link(byID, "../../nvme1n1")
		f.link(byID+"_1", "../../nvme1n1")
	}, "vol-0123456789abcdef0@nvme1n1 serial"},
	{"links", func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID, "../../loop3")
		f.link(byID+"_1", "../../loop3")
		f.link(byID+"-ns-1", "../../loop3")
	}, "vol-0123456789abcdef0@loop3 link"},
	{"the link of amazon-ec2-utils", func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID+"-ns-1", "../../loop3")
	}, "vol-0123456789abcdef0@loop3 link"},
	{"another model, with a link", func(f tree) {
		f.disk("nvme1n1", serial, 1, 5*gib)
		f.link(byID, "../../nvme1n1")
	}, "vol-0123456789abcdef0@nvme1n1 serial"},
	{"a stale link", func(f tree) {
		f.ebs("nvme1n1", otherSerial, 1)
		f.link(byID, "../../nvme1n1")
	}, "vol-0ffffffffffffffff@nvme1n1 serial"},
	{"dangling link", func(f tree) { f.link(byID, "../../nvme9n1") }, ""},
	{"links of a partition and of others", func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID+"-part1", "../../loop3")
		f.link("disk/by-id/nvme-Amazon_Elastic_Block_Store_vol-x", "../../loop3")
		f.link("disk/by-id/nvme-eui.00", "../../loop3")
	}, ""},
	{"no links", func(f tree) {
		os.RemoveAll(f.host.Dev + "/disk")
		f.ebs("nvme1n1", serial, 1)
	}, "vol-0123456789abcdef0@nvme1n1 serial"},
	{"Xen", func(f tree) { f.disk("xvdf", "", 5, 5*gib) }, ""},
}

func TestVolumeDevices(t *testing.T) {
	for _, test := range volumeDevicesTests {
		t.Run(test.name, func(t *testing.T) {
			f := newTree(t)
			test.build(f)
			found, err := f.host.volumeDevices(func(string, *identifyPage) error { return unix.EPERM })
			var got []string
			for _, v := range found {
				got = append(got, fmt.Sprintf("%s@%s %s", v.Volume, filepath.Base(v.Device.Node), v.Device.By))
				if v.Name != "" || v.Device.Size != 5*gib {
					t.Errorf("%+v", v)
				}
				if d, err := f.host.Find(Volume{ID: v.Volume}); err != nil || d != v.Device {
					t.Errorf("Find: %+v, %v; listed %+v", d, err, v.Device)
				}
			}
			if err != nil || strings.Join(got, ", ") != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := (Host{Sys: t.TempDir()}).VolumeDevices(); err == nil {
		t.Error("no sysfs, no error")
	}
}

// ebsPage reads testdata/identify.hex.
func ebsPage(t testing.TB) *identifyPage {
	t.Helper()
	text, err := os.ReadFile("testdata/identify.hex")
	if err != nil {
		t.Fatal(err)
	}
	page := new(identifyPage)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		offset, rest, _ := strings.Cut(line, "  ")
		digits, _, _ := strings.Cut(rest, "|")
		at, err := strconv.ParseUint(offset, 16, 12)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		copy(page[at:], b)
	}
	return page
}

func TestReportedName(t *testing.T) {
	field := func(at, size int, text string, pad byte) func(*identifyPage) {
		return func(p *identifyPage) { copy(p[at:at+size], text+strings.Repeat(string(pad), size)) }
	}
	name := func(text string) func(*identifyPage) { return field(3072, 32, text, ' ') }
	for _, test := range []struct {
		is     string
		change func(*identifyPage)
		want   string
	}{
		{"as recorded", func(*identifyPage) {}, "/dev/sdf"},
		{"padded with NUL", field(3072, 32, "/dev/sdf", 0), "/dev/sdf"},
		{"without /dev/", name("sdf"), "/dev/sdf"},
		{"xvdf", name("xvdf"), "/dev/xvdf"},
		{"two letters", name("/dev/xvdba"), "/dev/xvdba"},
		{"root device", name("sda1"), "/dev/sda1"},
		{"other bytes after the name's", field(3104, 992, "x", 'x'), "/dev/sdf"},
		{"blank", name(""), ""},
		{"NUL", field(3072, 32, "", 0), ""},
		{"no name", name("none"), ""},
		{"of 32 bytes", name("/dev/sdfffffffffffffffffffffffff"), ""},
		{"garbage", field(3072, 32, "\xff\x80/dev/sdf", 0xff), ""},
		{"path", name("/dev/../sdf"), ""},
		{"/dev/ twice", name("/dev//dev/sdf"), ""},
		{"something after the padding", name("/dev/sdf  x"), ""},
		{"upper case", name("/dev/SDF"), ""},
		{"another volume's", field(4, 20, otherSerial, ' '), ""},
		{"no serial", field(4, 20, "", ' '), ""},
		{"another model", field(24, 40, "QEMU NVMe Ctrl", ' '), ""},
		{"empty", func(p *identifyPage) { *p = identifyPage{} }, ""},
	} {
		got, atLaunch := nameFrom(func(_ string, p *identifyPage) error {
			*p = *ebsPage(t)
			test.change(p)
			return nil
		}, "/dev/nvme1n1", volumeID)
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.is, got, test.want)
		}
		if want := slices.Contains([]string{"without /dev/", "xvdf", "root device"}, test.is); atLaunch != want {
			t.Errorf("%s: attached by the launch %v, want %v", test.is, atLaunch, want)
		}
	}
	if got, _ := nameFrom(func(_ string, p *identifyPage) error { *p = *ebsPage(t); return unix.EIO }, "", volumeID); got != "" {
		t.Errorf("after an error: %q", got)
	}
}

// Only NVMe disks are asked, each for its own volume.
func TestVolumeDevicesNames(t *testing.T) {
	f := newTree(t)
	f.ebs("nvme1n1", serial, 1)
	f.ebs("nvme2n1", otherSerial, 2)
	f.disk("loop3", "", 3, 5*gib)
	f.link("disk/by-id/nvme-Amazon_Elastic_Block_Store_vol12345678", "../../loop3")
	var asked []string
	found, err := f.host.volumeDevices(func(node string, p *identifyPage) error {
		asked = append(asked, filepath.Base(node))
		*p = *ebsPage(t)
		return nil
	})
	if err != nil || len(found) != 3 || found[0].Name != "/dev/sdf" || found[1].Name != "" || found[2].Name != "" {
		t.Errorf("%+v, %v", found, err)
	}
	if strings.Join(asked, " ") != "nvme1n1 nvme2n1" {
		t.Errorf("asked %q", asked)
	}
}

// A disk that knows no NVMe commands, and one that is not there, have no name.
func TestIdentifyRefused(t *testing.T) {
	if size := unsafe.Sizeof(adminCommand{}); size != 72 {
		t.Errorf("struct nvme_admin_cmd has %d bytes", size)
	}
	page := new(identifyPage)
	if err := identify(filepath.Join(t.TempDir(), "nvme1n1"), page); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	needRoot(t)
	node := looptest.Attach(t, looptest.Image(t, 8*mib))
	if err := identify(node, page); err == nil || !bytes.Equal(page[:], make([]byte, len(page))) {
		t.Errorf("a loop device: %v", err)
	}
}

// The identify command is refused here: its time is not in this.
func BenchmarkVolumeDevices(b *testing.B) {
	needRoot(b)
	f := tree{b, Host{Sys: b.TempDir(), Dev: b.TempDir()}}
	for n := range uint32(4) {
		f.ebs(fmt.Sprintf("nvme%dn1", n), fmt.Sprintf("vol0123456789abcde%02x", n), n)
	}
	for b.Loop() {
		if found, err := f.host.volumeDevices(func(string, *identifyPage) error { return unix.EPERM }); err != nil || len(found) != 4 {
			b.Fatal(found, err)
		}
	}
}
