package mountfs

import (
	"encoding/binary"
	"fmt"
)

// A signature returns the name of one format if it finds it, else "".
type signature func(*image) string

// signatures are the known formats, most certain first: a disk with a GPT also has an MBR,
// and FAT ends its boot sector like one. Offsets are those of util-linux's libblkid
// (src/superblocks, src/partitions).
var signatures = []signature{
	magic("LUKS2 encrypted volume", "LUKS\xba\xbe\x00\x02", 0),
	magic("LUKS1 encrypted volume", "LUKS\xba\xbe", 0),
	magic("LUKS2 encrypted volume (second header)", "SKUL\xba\xbe", 0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000),
	lvm2,
	magic("LVM1 physical volume", "HM\x01\x00", 0),
	magic("LVM1 physical volume", "HM\x02\x00", 0),
	linuxRAID,
	magic("DM integrity volume", "integrt\x00", 0),
	magic("DM verity volume", "verity\x00\x00", 0),
	magic("DM snapshot store", "SnAp", 0),
	magic("XFS log device", "\xfe\xed\xba\xbe", 0),
	magic("VDO volume", "dmvdo001", 0),
	magic("Stratis pool", "!Stra0tis\x86\xff\x02^\x41rh", 512+4, 9*512+4),
	drbd,
	firmwareRAID,
	magic("Ceph BlueStore", "bluestore block device", 0),
	magic("Oracle ASM disk", "ORCLDISK", 32),
	magic("bcache device", "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 0x1018),
	magic("bcachefs", "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", 0x1018),
	zfs,
	magic("btrfs", "_BHRfS_M", 0x10040),
	magic("btrfs whose first superblock is gone", "_BHRfS_M", btrfsCopies[0]+0x40, btrfsCopies[1]+0x40),
	ext,
	wipedExt,
	magic("f2fs", "\x10\x20\xf5\xf2", 0x400, 0x1400),
	magic("EROFS", "\xe2\xe1\xf5\xe0", 0x400),
	magic("squashfs", "hsqs", 0),
	magic("squashfs", "sqsh", 0),
	magic("cramfs", "\x45\x3d\xcd\x28", 0, 0x200),
	magic("Reiser4", "ReIsEr4", 0x10000),
	magic("reiserfs", "ReIsEr", 0x2034, 0x10034, 0x10000),
	magic("JFS", "JFS1", 0x8000),
	magic("GFS2", "\x01\x16\x19\x70", 0x10000),
	magic("OCFS2", "OCFSV2", 0x400, 0x800, 0x1000, 0x2000),
	magic("APFS", "NXSB", 32),
	magic("HFS+", "H+\x00\x04", 0x400),
	magic("HFS+", "HX\x00\x05", 0x400),
	magic("HPFS", "\x49\xe8\x95\xf9", 0x2000),
	magic("romfs", "-rom1fs-", 0),
	magic("BFS", "\xce\xfa\xad\x1b", 0),
	magic("BeFS", "1SFB", 0x20, 0x220),
	magic("BeFS", "BFS1", 0x20, 0x220),
	magic("VxFS", "\xf5\xfc\x01\xa5", 0x400),
	magic("UFS", "\x54\x19\x01\x00", 0x255c),
	magic("UFS", "\x19\x01\x54\x19", 0x1055c),
	magic("ReFS", "\x00\x00\x00ReFS\x00", 0),
	magic("zonefs", "SFOZ", 0),
	magic("UBI volume", "UBI#", 0),
	magic("UBIFS", "\x31\x18\x10\x06", 0),
	magic("VMFS", "\x0d\xd0\x01\xc0", 0x100000),
	magic("VMFS", "\x5e\xf1\xab\x2f", 0x200000),
	magic("hibernated swap", "S1SUSPEND\x00", swapMagics...),
	magic("hibernated swap", "S2SUSPEND\x00", swapMagics...),
	magic("hibernated swap", "ULSUSPEND\x00", swapMagics...),
	magic("hibernated swap", "LINHIB0001", swapMagics...),
	magic("swap", "SWAPSPACE2", swapMagics...),
	magic("swap", "SWAP-SPACE", swapMagics...),
	magic("UDF", "BEA01", 0x8001),
	magic("UDF", "NSR02", 0x8801, 0x9001),
	magic("UDF", "NSR03", 0x8801, 0x9001),
	magic("ISO 9660", "CD001", 0x8001),
	magic("BitLocker volume", "-FVE-FS-", 3),
	magic("NTFS", "NTFS    ", 3),
	magic("exFAT", "EXFAT   ", 3),
	magic("GPT partition table", "EFI PART", 512, 4096),
	magic("GPT partition table (backup only)", "EFI PART", -512, -4096),
	magic("FAT", "FAT12   ", 0x36),
	magic("FAT", "FAT16   ", 0x36),
	magic("FAT", "FAT32   ", 0x52),
	magic("FAT", "MSDOS5.0", 3),
	mbr,
	magic("SGI partition table", "\x0b\xe5\xa9\x41", 0),
	magic("Sun partition table", "\xda\xbe", 508),
	magic("Apple partition table", "PM\x00\x00", 512),
	magic("BSD partition table", "\x57\x45\x56\x82", 512),
	magic("NILFS2", "\x34\x34", 0x406),
	magic("minix", "\x7f\x13", 0x410),
	magic("minix", "\x8f\x13", 0x410),
	magic("minix", "\x68\x24", 0x410),
	magic("minix", "\x78\x24", 0x410),
	magic("minix", "\x5a\x4d", 0x418),
	magic("HFS", "BD", 0x400),
	wipedXFS,
}

// swapMagics are the ends of the first page, for page sizes of 4 to 64 KiB.
var swapMagics = []int64{0x1000 - 10, 0x2000 - 10, 0x4000 - 10, 0x8000 - 10, 0x10000 - 10}

// Offsets of the first superblock copies of mkfs.ext4, with its blocks of 4 KiB, and of
// mkfs.btrfs.
var (
	extCopies   = []int64{128 << 20, 3 * 128 << 20}
	btrfsCopies = []int64{64 << 20, 256 << 30}
)

// magic returns a signature: a string at any of some offsets.
func magic(what, want string, offs ...int64) signature {
	return func(im *image) string {
		for _, off := range offs {
			if string(im.at(off, int64(len(want)))) == want {
				return what
			}
		}
		return ""
	}
}

// lvm2 finds LVM's label in one of the first four sectors.
func lvm2(im *image) string {
	for off := int64(0); off < 4*512; off += 512 {
		if string(im.at(off, 8)) == "LABELONE" && string(im.at(off+0x18, 8)) == "LVM2 001" {
			return "LVM2 physical volume"
		}
	}
	return ""
}

// linuxRAID finds md superblocks. 0.90 sits 64 KiB aligned before the end, in
// the host's byte order; 1.0 at least 8 KiB before the end, 4 KiB aligned; 1.1
// at the start; 1.2 at 4 KiB.
func linuxRAID(im *image) string {
	const little, big = "\xfc\x4e\x2b\xa9", "\xa9\x2b\x4e\xfc"
	for _, v := range []struct {
		version string
		off     int64
	}{
		{"1.1", 0},
		{"1.2", 4096},
		{"1.0", (im.size>>9 - 16) &^ 7 << 9},
		{"0.90", im.size&^(64<<10-1) - 64<<10},
	} {
		if v.off < 0 {
			continue
		}
		if got := string(im.at(v.off, 4)); got == little || got == big && v.version == "0.90" {
			return "Linux RAID member (md " + v.version + ")"
		}
	}
	return ""
}

// drbd finds the internal metadata of DRBD 8 and 9: its last 4 KiB block, magic
// at 60.
func drbd(im *image) string {
	off := im.size&^4095 - 4096
	if off < 0 {
		return ""
	}
	if b := im.at(off+60, 4); b != nil {
		if m := binary.BigEndian.Uint32(b); m >= 0x8374026b && m <= 0x8374026d {
			return "DRBD device"
		}
	}
	return ""
}

// firmwareRAID finds the metadata that server RAID firmware writes at the end.
func firmwareRAID(im *image) string {
	const intel = "Intel Raid ISM Cfg Sig. "
	switch {
	case string(im.at(-1024, int64(len(intel)))) == intel:
		return "Intel RAID member"
	case string(im.at(-512, 4)) == "\xde\x11\xde\x11":
		return "DDF RAID member"
	}
	return ""
}

// zfs finds an uberblock in one of the labels: two of 256 KiB at each end, the
// uberblocks in the second half of each, in either byte order.
func zfs(im *image) string {
	const label = 256 << 10
	end := im.size &^ (label - 1)
	for _, start := range []int64{0, label, end - 2*label, end - label} {
		if start < 0 {
			continue
		}
		for off := start + label/2; off < start+label; off += 1024 {
			switch string(im.at(off, 8)) {
			case "\x0c\xb1\xba\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\xba\xb1\x0c":
				return "ZFS member"
			}
		}
	}
	return ""
}

// ext tells ext2, ext3 and ext4 apart by their feature bits (libblkid superblocks/ext.c):
// ext3 is ext2 with a journal, ext4 has any feature that ext3 does not know.
func ext(im *image) string {
	sb := im.at(0x400, 0x100)
	if sb == nil || string(sb[0x38:0x3a]) != "\x53\xef" {
		return ""
	}
	const (
		hasJournal     = 0x4
		journalDevice  = 0x8
		ext3Incompat   = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
		ext3ROIncompat = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
	)
	le := binary.LittleEndian
	compat, incompat, roIncompat := le.Uint32(sb[0x5c:]), le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	switch {
	case incompat&journalDevice != 0:
		return "ext journal device"
	case incompat&^ext3Incompat != 0 || roIncompat&^ext3ROIncompat != 0:
		return "ext4"
	case compat&hasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// wipedExt finds a copy of an ext superblock, which starts a block group. The magic number
// is only two bytes, so the copy must also contain its group number.
func wipedExt(im *image) string {
	for i, off := range extCopies {
		sb := im.at(off, 0x100)
		if sb != nil && string(sb[0x38:0x3a]) == "\x53\xef" && int(binary.LittleEndian.Uint16(sb[0x5a:])) == 2*i+1 {
			return fmt.Sprintf("ext2, ext3 or ext4 whose first superblock is gone (a copy at byte %d)", off)
		}
	}
	return ""
}

// mbr tells a partition table from another boot sector: each of the four entries starts
// with 0 or 0x80, and one has a type.
func mbr(im *image) string {
	b := im.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return ""
	}
	used := false
	for entry := 446; entry < 510; entry += 16 {
		if b[entry]&0x7f != 0 {
			return "boot sector"
		}
		used = used || b[entry+4] != 0
	}
	if !used {
		return "boot sector or empty MBR partition table"
	}
	return "MBR partition table"
}

// wipedXFS finds a copy of an XFS superblock when the first one is gone.
func wipedXFS(im *image) string {
	for _, p := range im.parts {
		for off := int64(0); off+4 <= int64(len(p.data)); off += 512 {
			if string(p.data[off:off+4]) == superblockMagic {
				return fmt.Sprintf("XFS whose first superblock is gone (a copy at byte %d)", p.off+off)
			}
		}
	}
	return ""
}
