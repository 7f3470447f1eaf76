//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openProcess returns a pidfd; ok is false if the process has ended.
func openProcess(pid int) (fd int, running bool, err error) {
	fd, err = unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return fd, true, nil
	case errors.Is(err, unix.ESRCH):
		return -1, false, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return -1, false, nil // the number belongs to a thread of another process now (pidfd_open(2))
	default:
		return -1, false, fmt.Errorf("open pid %d: %w", pid, err)
	}
}

// members returns the processes in a PID namespace.
func members(space string) ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && namespace(pid) == space {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// namespace returns the PID namespace of a process, or "" if it has ended.
func namespace(pid int) string {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return ""
	}
	return space
}

// isStopped says whether a process is stopped by a signal. (proc_pid_stat(5))
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name before the state may have any character in it.
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return strings.HasPrefix(state, "T")
}
