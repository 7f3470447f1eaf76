package mountfs

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"snapsource/mountfs/looptest"
)

// specimen is a device made by a test, and its expected classification.
type specimen struct {
	name  string
	size  int64 // testSize if 0
	make  func(t *testing.T, node string)
	kind  Kind   // Foreign if 0
	what  string // is in Contents.What
	blkid string // must be among what blkid finds
}

// corpus is everything that a device may hold, made by the programs that make
// such things, or by hand where these need a driver or have no package.
func corpus() []specimen {
	all := slices.Concat(fileSystems(), containers(), xfses(), bytesAlone(), sizes())
	for i, h := range handmade {
		all = append(all, specimen{name: fmt.Sprintf("by hand, %d: %s", i, h.what), what: h.what, blkid: h.blkid, make: func(t *testing.T, node string) {
			for off, data := range h.data(testSize) {
				poke(t, node, off, []byte(data))
			}
		}})
	}
	return all
}

// tool makes a specimen by a command line, to which the device is added.
func tool(what, line string) specimen {
	return specimen{name: line, what: what, make: func(t *testing.T, node string) {
		args := append(strings.Fields(line), node)
		runTool(t, args[0], args[1:]...)
	}}
}

func (s specimen) ofSize(size int64) specimen { s.size = size; return s }

func fileSystems() []specimen {
	return []specimen{
		tool("ext4", "mkfs.ext4 -q"),
		tool("ext3", "mkfs.ext3 -q"),
		tool("ext2", "mkfs.ext2 -q"),
		tool("ext2", "mkfs.ext2 -q -b 1024 -O ^sparse_super,^resize_inode"),
		tool("ext4", "mkfs.ext4 -q -O bigalloc,metadata_csum,64bit -L data"),
		tool("btrfs", "mkfs.btrfs -q"),
		tool("FAT", "mkfs.vfat -F 12").ofSize(16 * mib),
		tool("FAT", "mkfs.vfat -F 16"),
		tool("FAT", "mkfs.vfat -F 32"),
		tool("exFAT", "mkfs.exfat"),
		tool("NTFS", "mkfs.ntfs -q -Q -F"),
		tool("f2fs", "mkfs.f2fs -q"),
		tool("NILFS2", "mkfs.nilfs2 -q"),
		tool("reiserfs", "mkfs.reiserfs -q -f -f"),
		tool("JFS", "mkfs.jfs -q"),
		tool("GFS2", "mkfs.gfs2 -O -p lock_nolock -j 1"),
		tool("UDF", "mkfs.udf"),
		tool("minix", "mkfs.minix -1"),
		tool("minix", "mkfs.minix -2"),
		tool("minix", "mkfs.minix -3"),
		tool("BFS", "mkfs.bfs"),
		archive("squashfs", "mksquashfs DIR OUT -noappend -quiet -no-progress"),
		archive("EROFS", "mkfs.erofs --quiet OUT DIR"),
		archive("cramfs", "mkfs.cramfs DIR OUT"),
		archive("ISO 9660", "genisoimage -quiet -o OUT DIR"),
		{name: "ext4, first 2 MiB wiped", what: "ext2, ext3 or ext4 whose first superblock is gone", make: func(t *testing.T, node string) {
			runTool(t, "mkfs.ext4", "-q", "-b", "4096", node)
			poke(t, node, 0, zeros(2*mib))
		}},
	}
}

// archive makes a specimen by a program that writes a file of a directory.
func archive(what, line string) specimen {
	return specimen{name: line, what: what, make: func(t *testing.T, node string) {
		dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(filepath.Join(dir, "release"), []byte("the code"), 0o644); err != nil {
			t.Fatal(err)
		}
		args := strings.Fields(strings.NewReplacer("DIR", dir, "OUT", out).Replace(line))
		runTool(t, args[0], args[1:]...)
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		poke(t, node, 0, data)
	}}
}

func containers() []specimen {
	return []specimen{
		{name: "pvcreate", what: "LVM2 physical volume", make: func(t *testing.T, node string) { pvcreate(t, node, "1") }},
		{name: "pvcreate --labelsector 3", what: "LVM2 physical volume", make: func(t *testing.T, node string) { pvcreate(t, node, "3") }},
		{name: "LUKS1", what: "LUKS1 encrypted volume", make: func(t *testing.T, node string) { luks(t, node, "luks1") }},
		{name: "LUKS2", what: "LUKS2 encrypted volume", make: func(t *testing.T, node string) { luks(t, node, "luks2") }},
		{name: "LUKS2, first header wiped", what: "LUKS2 encrypted volume (second header)", make: func(t *testing.T, node string) {
			luks(t, node, "luks2")
			poke(t, node, 0, zeros(4096))
		}},
		{name: "veritysetup format", what: "DM verity volume", make: func(t *testing.T, node string) {
			data := filepath.Join(t.TempDir(), "data")
			if err := os.WriteFile(data, zeros(mib), 0o600); err != nil {
				t.Fatal(err)
			}
			runTool(t, "veritysetup", "format", data, node)
		}},
		tool("bcache device", "make-bcache -B"),
		tool("bcache device", "make-bcache -C"),
		tool("swap", "mkswap"),
		tool("GPT partition table", "sgdisk -n 1:0:0"),
		{name: "GPT backup", what: "GPT partition table (backup only)", make: func(t *testing.T, node string) {
			runTool(t, "sgdisk", "-n", "1:0:0", node)
			poke(t, node, 0, zeros(mib))
		}},
		partitions("dos", "MBR partition table"),
		partitions("gpt", "GPT partition table"),
		partitions("sgi", "SGI partition table"),
		partitions("sun", "Sun partition table"),
		{name: "XFS in a partition", what: "GPT partition table", make: func(t *testing.T, node string) {
			runTool(t, "sgdisk", "-n", "1:2048:0", node)
			image := looptest.Image(t, testSize-2*mib)
			runTool(t, "mkfs.xfs", "-q", image)
			runTool(t, "dd", "if="+image, "of="+node, "bs=1M", "seek=1", "conv=sparse,notrunc", "status=none")
		}},
	}
}

func pvcreate(t *testing.T, node, sector string) {
	runTool(t, "pvcreate", "-qq", "--config", `devices{use_devicesfile=0 scan_lvs=0} global{locking_type=0 use_lvmpolld=0}`, "--labelsector", sector, node)
}

func partitions(label, what string) specimen {
	return specimen{name: "sfdisk --label " + label, what: what, blkid: label, make: func(t *testing.T, node string) {
		cmd := exec.Command(needTool(t, "sfdisk"), "-q", "--no-reread", "--no-tell-kernel", "--label", label, node)
		cmd.Stdin = strings.NewReader(",,\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}}
}

func luks(t *testing.T, node, version string) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a test"), 0o600); err != nil {
		t.Fatal(err)
	}
	runTool(t, "cryptsetup", "luksFormat", "-q", "--type", version, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", node, key)
}

// xfses are XFS, sound and spoilt.
func xfses() []specimen {
	spoilt := func(name, what string, spoil func(t *testing.T, node string)) specimen {
		return specimen{name: name, what: what, make: func(t *testing.T, node string) {
			runTool(t, "mkfs.xfs", "-q", "-m", "uuid="+otherUUID, "-L", "codepen-app", node)
			spoil(t, node)
		}}
	}
	sound := func(what, line string) specimen { s := tool(what, line); s.kind = XFS; return s }
	return []specimen{
		sound(`XFS "codepen-app"`, "mkfs.xfs -q -L codepen-app"),
		sound(`XFS ""`, "mkfs.xfs -q"),
		sound(`XFS "old"`, "mkfs.xfs -q -m crc=0 -L old"),
		sound(`XFS ""`, "mkfs.xfs -q -b size=1024 -s size=1024"),
		sound(`XFS ""`, "mkfs.xfs -q -s size=4096 -d agcount=2"),
		{name: "mkfs.xfs -l logdev", what: "XFS log device", make: func(t *testing.T, node string) {
			runTool(t, "mkfs.xfs", "-q", "-l", "size=64m,logdev="+node, looptest.Image(t, testSize))
		}},
		spoilt("XFS torn", "checksum wrong", func(t *testing.T, node string) { poke(t, node, 0x90, []byte{1, 2, 3}) }),
		spoilt("XFS checksum broken", "checksum wrong", func(t *testing.T, node string) { poke(t, node, crcOffset, []byte{0xff, 0xff}) }),
		spoilt("XFS half a sector", "XFS, superblock", func(t *testing.T, node string) { poke(t, node, 64, zeros(512-64)) }),
		spoilt("XFS of the future", "XFS, superblock version unknown", func(t *testing.T, node string) { poke(t, node, 0x65, []byte{0xb6}) }),
		spoilt("XFS unfinished", "not ours: UUID "+otherUUID, unfinish),
		spoilt("XFS zeroed sector", "first superblock is gone", func(t *testing.T, node string) { poke(t, node, 0, zeros(512)) }),
		spoilt("XFS zeroed megabytes", "first superblock is gone", func(t *testing.T, node string) { poke(t, node, 0, zeros(edge)) }),
		spoilt("XFS overwritten", "first superblock is gone", func(t *testing.T, node string) { poke(t, node, 0, []byte("#!/bin/sh\n")) }),
	}
}

// bytesAlone are data that nobody knows.
func bytesAlone() []specimen {
	noise := func(name string, off int64, n int) specimen {
		return specimen{name: name, what: fmt.Sprintf("unknown data at byte %d", off), make: func(t *testing.T, node string) {
			b := make([]byte, n)
			rand.Read(b)
			copy(b, "\x07\x07\x07\x07\x07\x07\x07\x07") // nobody's magic number by chance
			poke(t, node, off, b)
		}}
	}
	all := []specimen{noise("random megabyte", 0, mib), noise("random page", 9<<10, 4096), noise("random end", testSize-64<<10, 64<<10)}
	const group = testSize / 4
	for _, at := range []struct {
		where string
		off   int64
	}{
		{"first", 0},
		{"in the head", edge / 2},
		{"last of the head", edge - 1},
		{"first of a sample", testSize / samples * 3},
		{"in a sample", testSize/samples*5 + 2000},
		{"last of a sample", testSize/samples*7 + sampleSize - 1},
		{"second group", group},
		{"third group", 2*group + sampleSize/2},
		{"fourth group", 3*group + sampleSize - 1},
		{"first of the tail", testSize - edge},
		{"in the tail", testSize - edge/2},
		{"last", testSize - 1},
	} {
		all = append(all, specimen{name: "one byte, " + at.where, what: fmt.Sprintf("unknown data at byte %d", at.off),
			make: func(t *testing.T, node string) { poke(t, node, at.off, []byte{1}) }})
	}
	return all
}

// sizes are blank devices, most of them odd or tiny, and the same with one byte
// at the end.
func sizes() []specimen {
	var all []specimen
	for _, size := range []int64{512, 1024, 4096, 64<<10 + 512, edge - 512, edge + 512, 2*edge + 1536, mkfsMin - 512, mkfsMin, mkfsMin + 7*512, testSize, 5 * gib} {
		all = append(all, specimen{name: fmt.Sprintf("blank, %d bytes", size), size: size, kind: Blank, what: "blank", make: func(*testing.T, string) {}},
			specimen{name: fmt.Sprintf("last byte of %d", size), size: size, what: fmt.Sprintf("unknown data at byte %d", size-1),
				make: func(t *testing.T, node string) { poke(t, node, size-1, []byte{1}) }})
	}
	return all
}
