package mountfs

import (
	"encoding/binary"
	"strings"
	"testing"
)

// handmade are the formats whose tools need a driver or a daemon, or have no
// package: their signatures, with the checksums that a second opinion wants.
// Those that tools make are in corpus_linux_test.go.
var handmade = []struct {
	what  string // what we call it
	blkid string // what blkid calls it; "" when it does not know it
	data  func(size int64) pieces
}{
	{"Linux RAID member (md 0.90)", "linux_raid_member", func(size int64) pieces { return md090(size, binary.LittleEndian) }},
	{"Linux RAID member (md 0.90)", "linux_raid_member", func(size int64) pieces { return md090(size, binary.BigEndian) }},
	{"Linux RAID member (md 1.0)", "linux_raid_member", func(size int64) pieces { return md1((size/512 - 16) &^ 7 * 512) }},
	{"Linux RAID member (md 1.1)", "linux_raid_member", func(int64) pieces { return md1(0) }},
	{"Linux RAID member (md 1.2)", "linux_raid_member", func(int64) pieces { return md1(4096) }},
	{"Intel RAID member", "isw_raid_member", func(size int64) pieces { return pieces{size - 1024: "Intel Raid ISM Cfg Sig. 1.2.00"} }},
	{"DDF RAID member", "ddf_raid_member", func(size int64) pieces {
		header := "\xde\x11\xde\x11\x00\x00\x00\x00LSI     \x00\x00\x00\x00\x00\x00\x00\x0002.00.00"
		return pieces{size - 512: header + strings.Repeat("\x00", 56) + be64(uint64(size/512-2)), size - 1024: header}
	}},
	{"LVM1 physical volume", "LVM1_member", always(pieces{0: "HM\x01\x00"})},
	{"LVM2 physical volume", "", always(pieces{1536: "LABELONE", 1536 + 0x18: "LVM2 001"})}, // checksum of its label wrong
	{"LUKS2 encrypted volume (second header)", "", always(pieces{0x4000: "SKUL\xba\xbe"})},
	{"DM integrity volume", "DM_integrity", always(pieces{0: "integrt\x00\x01"})},
	{"DM snapshot store", "DM_snapshot_cow", always(pieces{0: "SnAp\x01"})},
	{"VDO volume", "vdo", always(pieces{0: "dmvdo001"})},
	{"Stratis pool", "", always(pieces{516: "!Stra0tis\x86\xff\x02^\x41rh"})},
	{"DRBD device", "drbd", func(size int64) pieces { return pieces{size&^4095 - 4096 + 60: "\x83\x74\x02\x6b"} }},
	{"DRBD device", "drbd", func(size int64) pieces { return pieces{size&^4095 - 4096 + 60: "\x83\x74\x02\x6d"} }},
	{"Ceph BlueStore", "ceph_bluestore", always(pieces{0: "bluestore block device\n"})},
	{"Oracle ASM disk", "oracleasm", always(pieces{32: "ORCLDISKVOL1"})},
	{"bcachefs", "", always(pieces{0x1018: "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"})},
	{"ZFS member", "zfs_member", func(size int64) pieces { return zpool(size, "\x0c\xb1\xba\x00\x00\x00\x00\x00") }},
	{"ZFS member", "zfs_member", func(size int64) pieces { return zpool(size, "\x00\x00\x00\x00\x00\xba\xb1\x0c") }},
	{"btrfs whose first superblock is gone", "", always(pieces{64<<20 + 0x40: "_BHRfS_M"})},
	{"ext journal device", "jbd", always(pieces{0x438: "\x53\xef", 0x45c: le32(0) + le32(8) + le32(0)})},
	{"Reiser4", "reiser4", always(pieces{0x10000: "ReIsEr4"})},
	{"OCFS2", "ocfs2", always(pieces{0x2000: "OCFSV2"})},
	{"APFS", "", always(pieces{32: "NXSB"})},
	{"HFS+", "hfsplus", always(pieces{0x400: "H+\x00\x04", 0x400 + 40: be32(4096)})},
	{"HFS", "hfs", always(pieces{0x400: "BD", 0x400 + 20: be32(4096)})},
	{"VMFS", "", always(pieces{0x100000: "\x0d\xd0\x01\xc0"})},
	{"VMFS", "VMFS", always(pieces{0x200000: "\x5e\xf1\xab\x2f"})},
	{"HPFS", "", always(pieces{0x2000: "\x49\xe8\x95\xf9\xc5\xe9\x53\xfa"})},
	{"romfs", "romfs", always(pieces{0: "-rom1fs-"})},
	{"BeFS", "", always(pieces{0x220: "1SFB"})},
	{"VxFS", "vxfs", always(pieces{0x400: "\xf5\xfc\x01\xa5\x04"})},
	{"UFS", "ufs", always(pieces{0x2000 + 0x55c: "\x54\x19\x01\x00"})},
	{"UFS", "ufs", always(pieces{0x10000 + 0x55c: "\x19\x01\x54\x19"})},
	{"ReFS", "ReFS", always(pieces{0: "\x00\x00\x00ReFS\x00"})},
	{"zonefs", "", always(pieces{0: "SFOZ"})},
	{"UBI volume", "ubi", always(pieces{0: "UBI#\x01"})},
	{"UBIFS", "ubifs", always(pieces{0: "\x31\x18\x10\x06"})},
	{"BitLocker volume", "", always(pieces{0: "\xeb\x58\x90-FVE-FS-"})},
	{"hibernated swap", "swsuspend", always(pieces{4086: "S1SUSPEND\x00"})},
	{"hibernated swap", "swsuspend", always(pieces{4086: "LINHIB0001"})},
	{"swap", "swap", always(pieces{65526: "SWAPSPACE2", 1024: le32(1) + le32(100)})}, // of a machine with pages of 64 KiB
	{"MBR partition table", "dos", always(pieces{446: "\x80\x00\x00\x00\x83\x00\x00\x00" + le32(2048) + le32(2048), 510: "\x55\xaa"})},
	{"boot sector or empty MBR partition table", "dos", always(pieces{510: "\x55\xaa"})},
	{"boot sector", "", always(pieces{446: "\x33", 510: "\x55\xaa"})},
	{"Apple partition table", "", always(pieces{512: "PM\x00\x00\x00\x00\x00\x01"})},
	{"BSD partition table", "", always(pieces{512: "\x57\x45\x56\x82"})},
	{"GPT partition table", "", always(pieces{4096: "EFI PART"})}, // of a disk with sectors of 4 KiB
}

// pieces are what is not zero of a device, by offset.
type pieces map[int64]string

func always(p pieces) func(int64) pieces { return func(int64) pieces { return p } }

// Every format is named, even on a device that is larger than what is read.
func TestProbeHandmade(t *testing.T) {
	const size = gib + 12345*512
	for _, h := range handmade {
		c, err := Probe(sparse{size: size, pieces: h.data(size)}, size, "")
		if err != nil || c.Kind != Foreign || c.What != h.what {
			t.Errorf("%s: %+v, %v", h.what, c, err)
		}
	}
}

func le32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
func be32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
func be64(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

const mdMagic = 0xa92b4efc

// md090 is the superblock of the first of two mirrors as kernels before 2.6.14
// wrote it, in the host's byte order. mdadm makes none without the kernel's md
// driver. (Linux, include/uapi/linux/raid/md_p.h)
func md090(size int64, order binary.ByteOrder) pieces {
	words := make([]uint32, 1024)
	words[0], words[1], words[2] = mdMagic, 0, 90
	words[5], words[13], words[14], words[15] = 0x11111111, 0x22222222, 0x33333333, 0x44444444 // UUID
	words[7], words[8], words[9], words[10] = 1, uint32(size/1024&^63-64), 2, 2                // level, KiB, disks
	words[38] = mdSum(words)
	b := make([]byte, 0, 4096)
	for _, w := range words {
		n := len(b)
		b = b[:n+4]
		order.PutUint32(b[n:], w)
	}
	return pieces{size&^(64<<10-1) - 64<<10: string(b)}
}

// md1 is the same of version 1, which says itself where it lies.
func md1(off int64) pieces {
	b := make([]byte, 256+2*2)
	le := binary.LittleEndian
	le.PutUint32(b[0:], mdMagic)
	le.PutUint32(b[4:], 1)
	copy(b[16:], "\x11\x11\x11\x11\x22\x22\x22\x22\x33\x33\x33\x33\x44\x44\x44\x44host:0")
	le.PutUint32(b[72:], 1)  // level
	le.PutUint64(b[80:], 64) // sectors
	le.PutUint32(b[92:], 2)  // disks
	le.PutUint64(b[128:], 2048)
	le.PutUint64(b[144:], uint64(off/512))
	le.PutUint32(b[220:], 2) // roles of as many disks follow
	le.PutUint16(b[258:], 1)
	words := make([]uint32, len(b)/4)
	for i := range words {
		words[i] = le.Uint32(b[4*i:])
	}
	le.PutUint32(b[216:], mdSum(words))
	return pieces{off: string(b)}
}

// mdSum is md's checksum, over words with the checksum's own as 0.
func mdSum(words []uint32) uint32 {
	var sum uint64
	for _, w := range words {
		sum += uint64(w)
	}
	return uint32(sum) + uint32(sum>>32)
}

// zpool has uberblocks in all four labels.
func zpool(size int64, magic string) pieces {
	const label = 256 << 10
	p := pieces{}
	end := size &^ (label - 1)
	for _, start := range []int64{0, label, end - 2*label, end - label} {
		for i := range int64(8) {
			p[start+label/2+i*1024] = magic
		}
	}
	return p
}
