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

// pause stops the processes of an instance for the moment in which the data of its
// volume are copied. Nothing else can hold up their writes and leave the file system
// as a crash would: a frozen one has been tidied up.
type pause struct {
	space   string // the instance's PID namespace; "" if it is not running
	stopped map[int]int
}

// pause returns a pause of the live run of an instance, in which nothing is stopped yet.
func (s state) pause(name string) (*pause, error) {
	p := &pause{stopped: map[int]int{}}
	live, recorded, err := s.readRun(name)
	if err == nil && recorded && live.current() {
		p.space = live.Namespace
	}
	return p, err
}

// stop stops all processes of the instance. It does not wait until they have stopped, and
// one may have begun another meanwhile: whoever still sees writes calls it again.
func (p *pause) stop() error {
	if p.space == "" {
		return nil
	}
	pids, err := members(p.space)
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		if _, done := p.stopped[pid]; !done && !isStopped(pid) {
			errs = append(errs, p.stopOne(pid))
		}
	}
	return errors.Join(errs...)
}

func (p *pause) stopOne(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	// The number may have become another process's before it was opened.
	if namespace(pid) != p.space {
		return unix.Close(fd)
	}
	p.stopped[pid] = fd
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop pid %d: %w", pid, err)
	}
	return nil
}

// resume continues what was stopped; what the user has stopped stays so.
func (p *pause) resume() error {
	var errs []error
	for pid, fd := range p.stopped {
		if err := unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("continue pid %d: %w", pid, err))
		}
		errs = append(errs, unix.Close(fd))
	}
	clear(p.stopped)
	return errors.Join(errs...)
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
