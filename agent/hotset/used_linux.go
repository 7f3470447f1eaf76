package hotset

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// usedMax bounds the descriptors and mappings that are looked at, of all processes.
const usedMax = 200_000

// usedFiles returns the inodes of a device's files that a process has open or mapped, also one in a
// container. It asks no file server: AT_STATX_DONT_SYNC.
func usedFiles(ctx context.Context, device uint64) map[uint64]bool {
	u := used{device: device, inodes: map[uint64]bool{}, left: usedMax}
	processes, err := os.Open("/proc")
	if err != nil {
		return u.inodes
	}
	defer processes.Close()
	names, _ := processes.Readdirnames(-1) // what was read before an error is used
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		if ctx.Err() != nil || u.left <= 0 {
			break
		}
		u.mapped("/proc/" + name + "/maps")
		u.opened("/proc/" + name + "/fd")
	}
	return u.inodes
}

type used struct {
	device uint64
	inodes map[uint64]bool
	left   int
}

// mapped adds the files of a process's mappings. (proc_pid_maps(5): address, perms, offset,
// major:minor in hexadecimal, inode, path)
func (u *used) mapped(path string) {
	f, err := os.Open(path)
	if err != nil {
		return // the process has ended
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() && u.left > 0 {
		u.left--
		words := strings.Fields(lines.Text())
		if len(words) < 5 {
			continue
		}
		major, minor, _ := strings.Cut(words[3], ":")
		ma, err1 := strconv.ParseUint(major, 16, 32)
		mi, err2 := strconv.ParseUint(minor, 16, 32)
		inode, err3 := strconv.ParseUint(words[4], 10, 64)
		if err1 == nil && err2 == nil && err3 == nil && unix.Mkdev(uint32(ma), uint32(mi)) == u.device {
			u.inodes[inode] = true
		}
	}
}

func (u *used) opened(path string) {
	dir, err := os.Open(path)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(u.left)
	for _, name := range names {
		u.left--
		var st unix.Statx_t
		err := unix.Statx(int(dir.Fd()), name, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO|unix.STATX_TYPE, &st)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Mkdev(st.Dev_major, st.Dev_minor) == u.device {
			u.inodes[st.Ino] = true
		}
	}
}
