//go:build linux

package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// pause stops the processes of an instance while the data of its volume is copied. A freeze
// of the file system would flush it, which neither EC2 nor a crash does.
type pause struct {
	space   string      // the instance's PID namespace; "" if it is not running
	stopped map[int]int // pidfds, by pid
}

// pause returns a pause of an instance's live run, with no process stopped yet.
func (s state) pause(name string) (*pause, error) {
	p := &pause{stopped: map[int]int{}}
	live, recorded, err := s.readRun(name)
	if err == nil && recorded && live.current() {
		p.space = live.Namespace
	}
	return p, err
}

// stop sends SIGSTOP to all processes of the instance. It does not wait until they have
// stopped, and one may have started another meanwhile: call it again while there are
// writes.
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
	fd, running, err := openProcess(pid)
	if !running {
		return err
	}
	// The pid may have been reused before it was opened.
	if namespace(pid) != p.space {
		return unix.Close(fd)
	}
	p.stopped[pid] = fd
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop pid %d: %w", pid, err)
	}
	return nil
}

// resume continues the stopped processes, except those that the user had stopped.
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
