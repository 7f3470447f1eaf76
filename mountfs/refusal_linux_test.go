package mountfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"snapsource/mountfs/looptest"
)

// edit changes a field of an XFS's superblock, with the checksum.
func edit(t *testing.T, node, field, value string) {
	runTool(t, "xfs_db", "-x", "-c", "sb 0", "-c", "write -d "+field+" "+value, node)
}

// smash destroys a structure of an XFS, with a sound checksum.
func smash(t *testing.T, node, where, field string) {
	runTool(t, "xfs_db", "-x", "-c", where, "-c", "write -d "+field+" 0", node)
}

// Every XFS that the kernel does not mount is refused in words; none is a bug of
// ours. Of those that the kernel looks into it begins the log anew before it gives
// up; the others are not changed.
func TestMountRefusedByKernel(t *testing.T) {
	needRoot(t)
	for _, test := range []struct {
		name   string
		mkfs   string // options
		spoil  func(t *testing.T, node string)
		says   string
		mounts bool // by a kernel that is built otherwise
		begun  bool // the kernel gave up only after it wrote to the log
	}{
		{name: "version 4", mkfs: "-m crc=0", says: "version 4 (crc=0)", mounts: true},
		{name: "unknown incompat feature", spoil: func(t *testing.T, node string) { edit(t, node, "features_incompat", "0x80000003") }, says: "incompat 0x80000003"},
		{name: "unknown ro_compat feature", spoil: func(t *testing.T, node string) { edit(t, node, "features_ro_compat", "0x80000005") }, says: "ro_compat 0x80000005"},
		{name: "needs repair", spoil: func(t *testing.T, node string) { edit(t, node, "features_incompat", "0x1b") }, says: "xfs_repair"},
		{name: "version 4 by accident", spoil: func(t *testing.T, node string) { edit(t, node, "versionnum", "0xb4a4") }, says: "version 4"},
		{name: "root inode elsewhere", spoil: func(t *testing.T, node string) { edit(t, node, "rootino", "99") }, says: "damaged", begun: true},
		{name: "groups beyond the end", spoil: func(t *testing.T, node string) { edit(t, node, "imax_pct", "200") }, says: "xfs_repair"},
		{name: "small log", spoil: func(t *testing.T, node string) { edit(t, node, "logblocks", "5") }, says: "damaged"},
		{name: "log elsewhere", spoil: func(t *testing.T, node string) { edit(t, node, "logstart", "1") }, says: "can't be read, or is damaged"},
		{name: "free space", spoil: func(t *testing.T, node string) { smash(t, node, "agf 1", "magicnum") }, says: "xfs_repair", begun: true},
		{name: "inode tree", spoil: func(t *testing.T, node string) { smash(t, node, "agi 0", "magicnum") }, says: "xfs_repair", begun: true},
		{name: "root inode", spoil: func(t *testing.T, node string) { smash(t, node, "inode 128", "core.magic") }, says: "xfs_repair", begun: true},
		{name: "log overwritten", spoil: func(t *testing.T, node string) {
			f, err := os.Open(node)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sb, err := readSuperblock(f)
			if err != nil {
				t.Fatal(err)
			}
			group, block := sb.LogStart>>sb.agLog, sb.LogStart&(1<<sb.agLog-1)
			start := int64(group*uint64(sb.AGBlocks)+block) * int64(sb.BlockSize)
			poke(t, node, start, []byte(strings.Repeat("not a log of anything. ", 1<<16)))
		}, says: "xfs_repair"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := loopDevice(t, testSize)
			runTool(t, "mkfs.xfs", append(strings.Fields("-q -L codepen-app "+test.mkfs), d.Node)...)
			if test.spoil != nil {
				test.spoil(t, d.Node)
			}
			before := sum(t, d.Node)
			target := filepath.Join(t.TempDir(), "cp")
			_, err := MountXFS(d, target, []string{"noatime"})
			unmountAfter(t, target)
			if err == nil && test.mounts {
				return
			}
			wantRefusal(t, err, test.says)
			if sum(t, d.Node) != before && !test.begun {
				t.Error("refused, and changed")
			}
		})
	}
}

func wantRefusal(t *testing.T, err error, says string) {
	t.Helper()
	if !errors.Is(err, ErrRefused) || errors.Is(err, ErrOption) || !strings.Contains(err.Error(), says) {
		t.Errorf("%v: want it refused, with %q", err, says)
	}
}

// An XFS that has parts on other devices, which a volume never has.
func TestMountNeedsOtherDevices(t *testing.T) {
	needRoot(t)
	for _, test := range []struct{ mkfs, says string }{
		{"-r rtdev=", "realtime volume, on another device"},
		{"-l size=64m,logdev=", "log is on another device"},
	} {
		t.Run(test.mkfs, func(t *testing.T) {
			d, _ := loopDevice(t, testSize)
			other, _ := looptest.Device(t, testSize)
			args := strings.Fields("-q " + test.mkfs + other)
			runTool(t, "mkfs.xfs", append(args, d.Node)...)
			disk := openDisk(t, d)
			found, err := disk.Probe("")
			disk.Close()
			if err != nil || found.Kind != XFS {
				t.Errorf("%+v, %v", found, err)
			}
			target := filepath.Join(t.TempDir(), "cp")
			_, err = MountXFS(d, target, nil)
			unmountAfter(t, target)
			wantRefusal(t, err, test.says)
		})
	}
}

// The quota flags that a file system keeps from a mount with quota do not matter.
func TestMountQuotaFlags(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	edit(t, d.Node, "versionnum", "0xb4e5") // with XFS_SB_VERSION_QUOTABIT
	edit(t, d.Node, "qflags", "0x7")        // user quota, enforced, checked
	mountXFS(t, d, filepath.Join(t.TempDir(), "cp"))
}

// An option that XFS knows and this kernel was built without: no fault of ours, nor
// of the file system alone.
func TestMountQuotaOption(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	target := filepath.Join(t.TempDir(), "cp")
	_, err := MountXFS(d, target, []string{"uquota"})
	unmountAfter(t, target)
	if err != nil { // without CONFIG_XFS_QUOTA
		wantRefusal(t, err, "an option needs a feature that this kernel was built without")
	}
}

// Without the end of the device its XFS is refused, whoever asks.
func TestMountTruncated(t *testing.T) {
	needRoot(t)
	d, image := xfsDevice(t, testSize, testUUID)
	looptest.Resize(t, d.Node, image, testSize-10*mib)
	d = device(t, d.Node)
	target := filepath.Join(t.TempDir(), "cp")
	_, err := MountXFS(d, target, nil)
	unmountAfter(t, target)
	wantRefusal(t, err, "larger than the device")
}

// A read-only device is mounted as it is when asked for with ro, and only when its
// log is clean.
func TestMountReadOnlyDevice(t *testing.T) {
	needRoot(t)
	d, image := xfsDevice(t, testSize, testUUID)
	target := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, target)
	work(t, target, 3)
	dirty := copied(t, image)
	unmount(t, target)
	looptest.Resize(t, d.Node, image, testSize+64*mib)

	clean := device(t, looptest.AttachReadOnly(t, copied(t, image)))
	_, err := MountXFS(clean, target, []string{"noatime"})
	wantRefusal(t, err, "read-only device: the mount option ro is needed")
	mountXFS(t, clean, target, "noatime", "ro")
	if before, after, err := Grow(target, clean.Size); err != nil || before != testSize || after != testSize {
		t.Errorf("grow: %d, %d, %v; want it left alone", before, after, err)
	}
	unmount(t, target)

	_, err = MountXFS(device(t, looptest.AttachReadOnly(t, dirty)), target, []string{"ro"})
	wantRefusal(t, err, "needs its log replayed, and the device is read-only")
}

func TestUnknownOption(t *testing.T) {
	needRoot(t)
	for options, want := range map[string]string{
		"":                               "",
		"discard logbsize=256k nouuid":   "",
		"discard nonsense nouuid":        "nonsense",
		"logbsize=much":                  "logbsize=much",
		"allocsize=1m nonsense=1 swidth": "nonsense=1",
	} {
		if got := unknownOption(strings.Fields(options)); got != want {
			t.Errorf("%q: %q, want %q", options, got, want)
		}
	}
}

// Every errno of mount(2) has words, and a kind or the kernel's own.
func TestMountErrnos(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.EINVAL: ErrRefused, unix.EUCLEAN: ErrRefused, unix.EBADMSG: ErrRefused, unix.EIO: ErrRefused, unix.EROFS: ErrRefused,
		unix.ENOSYS: ErrRefused, unix.EOPNOTSUPP: ErrRefused, unix.EFBIG: ErrRefused, unix.ENODEV: ErrNoXFS, unix.EBUSY: ErrBusy,
		unix.EPERM: fs.ErrPermission, unix.EACCES: fs.ErrPermission, unix.ENOMEM: unix.ENOMEM,
	} {
		err := &MountError{Op: "mount", Source: "/dev/x", Target: "/cp", Err: errno}
		if !errors.Is(err, want) || errnoMeaning("mount", errno) == "" {
			t.Errorf("%v: want %v", err, want)
		}
	}
	if err := (&MountError{Op: "unmount", Target: "/cp", Err: unix.EINVAL}); errors.Is(err, ErrRefused) {
		t.Errorf("%v is not about a file system", err)
	}
}
