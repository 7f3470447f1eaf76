package mountfs

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is a process's directory in /proc. Each of its files may be gone at any time.
type process string

// processes lists the processes.
func processes() (all []process) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, process(filepath.Join("/proc", e.Name())))
		}
	}
	return all
}

// name returns "nginx (pid 4711)"; "" if the process has ended.
func (p process) name() string {
	comm, err := os.ReadFile(filepath.Join(string(p), "comm"))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), filepath.Base(string(p)))
}

// isSelf reports whether it is this process.
func (p process) isSelf() bool { return filepath.Base(string(p)) == strconv.Itoa(os.Getpid()) }

// namespace identifies its mount namespace.
func (p process) namespace() (string, error) { return os.Readlink(filepath.Join(string(p), "ns/mnt")) }

// mountLines returns the lines of its mountinfo about the device.
func (p process) mountLines(d Device) (lines []string) {
	text, err := os.ReadFile(filepath.Join(string(p), "mountinfo"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, fmt.Sprintf(" %d:%d ", d.Major, d.Minor)) {
			lines = append(lines, line)
		}
	}
	return lines
}

// shows reports whether its mount namespace has the device's file system.
func (p process) shows(d Device) bool { return len(p.mountLines(d)) > 0 }

// opened reports whether it has a file of the device's file system open or mapped, or its
// working or root directory there.
func (p process) opened(d Device) bool {
	paths := []string{filepath.Join(string(p), "cwd"), filepath.Join(string(p), "root")}
	files, _ := os.ReadDir(filepath.Join(string(p), "fd")) // it may have ended
	for _, f := range files {
		if f.Type()&fs.ModeSymlink != 0 {
			paths = append(paths, filepath.Join(string(p), "fd", f.Name()))
		}
	}
	for _, path := range paths {
		// DONT_SYNC: a network file system may not respond.
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
		if err == nil && st.Dev_major == d.Major && st.Dev_minor == d.Minor {
			return true
		}
	}
	return p.mapped(d)
}

// mapped reports whether a file of the device's file system is mapped, for example a program or
// a library. (proc_pid_maps(5))
func (p process) mapped(d Device) bool {
	maps, err := os.Open(filepath.Join(string(p), "maps"))
	if err != nil {
		return false
	}
	defer maps.Close()
	device := fmt.Sprintf("%02x:%02x", d.Major, d.Minor)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if columns := strings.Fields(lines.Text()); len(columns) > 3 && columns[3] == device {
			return true
		}
	}
	return false
}
