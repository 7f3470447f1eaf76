//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// state is the directory of all persistent data:
//
//	world.json, world.lock, calls.jsonl   the control plane
//	volumes/vol-….img                     sparse, as large as the volume
//	volumes/vol-….lazy, .lazy.json        its cold blocks, and the counts of its requests
//	snapshots/snap-….img                  sparse
//	instances/NAME/lock                   held while a run of the instance lives
//	instances/NAME/run.json               how to join that run
//	roots/i-…/…                           what the instance wrote to its root disk
type state struct {
	dir string
}

// instanceName matches names that are also host names.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// openState opens the directory, and creates it if missing. Its path has no symbolic links,
// so that it can be compared with paths that the kernel reports.
func openState(dir string) (state, error) {
	if dir == "" {
		return state{}, usage("--state is required")
	}
	for _, sub := range []string{"volumes", "snapshots", "instances", "roots"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return state{}, fmt.Errorf("make the state directory: %w", err)
		}
	}
	absolute, err := filepath.Abs(dir)
	if err == nil {
		absolute, err = filepath.EvalSymlinks(absolute)
	}
	if err != nil {
		return state{}, fmt.Errorf("open the state directory: %w", err)
	}
	return state{absolute}, nil
}

func (s state) volume(id string) string       { return filepath.Join(s.dir, "volumes", id+".img") }
func (s state) snapshot(id string) string     { return filepath.Join(s.dir, "snapshots", id+".img") }
func (s state) root(instanceID string) string { return filepath.Join(s.dir, "roots", instanceID) }
func (s state) instance(name string) string   { return filepath.Join(s.dir, "instances", name) }

// lock takes the lock that a run of an instance holds while it lives. It returns nil if
// another run holds it.
func (s state) lock(name string) (*os.File, error) {
	if err := os.MkdirAll(s.instance(name), 0o755); err != nil {
		return nil, fmt.Errorf("lock instance %s: %w", name, err)
	}
	f, err := os.OpenFile(filepath.Join(s.instance(name), "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock instance %s: %w", name, err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, nil
	default:
		f.Close()
		return nil, fmt.Errorf("lock instance %s: %w", name, err)
	}
}

// alive says whether the instance has a live run.
func (s state) alive(name string) bool {
	f, err := os.Open(filepath.Join(s.instance(name), "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// liveRun is the record of a live run, for other processes.
type liveRun struct {
	Init      int      // pid of the instance's pid 1
	Namespace string   // its PID namespace, "pid:[…]", to detect a reused pid
	Env       []string // AWS variables and PATH of the instance
}

// current says whether the pid still is the instance's pid 1.
func (l liveRun) current() bool {
	return l.Namespace != "" && namespace(l.Init) == l.Namespace
}

func (s state) runFile(name string) string { return filepath.Join(s.instance(name), "run.json") }

func (s state) writeRun(name string, l liveRun) error {
	data, err := json.Marshal(l)
	if err == nil {
		err = os.WriteFile(s.runFile(name)+".new", data, 0o644)
	}
	if err == nil {
		err = os.Rename(s.runFile(name)+".new", s.runFile(name))
	}
	if err != nil {
		return fmt.Errorf("record the run of %s: %w", name, err)
	}
	return nil
}

// readRun returns the record of the latest run; ok is false if there is none.
func (s state) readRun(name string) (l liveRun, ok bool, err error) {
	data, err := os.ReadFile(s.runFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		return l, false, fmt.Errorf("read the record of the run of %s: %w", name, err)
	}
	return l, true, nil
}

// awaitDeath waits until the pid 1 of a killed run has ended, and with it all processes and
// mounts of the instance.
func (l liveRun) awaitDeath() error {
	fd, running, err := openProcess(l.Init)
	if !running {
		return err
	}
	defer unix.Close(fd)
	if !l.current() {
		return nil
	}
	for deadline := time.Now().Add(teardownTimeout); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("watch pid %d: %w", l.Init, err)
		case n > 0:
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pid %d, the init of an earlier run, does not end within %v", l.Init, teardownTimeout)
		}
	}
}

// leftoverAge is the age from which on a file unknown to the control plane belongs to a
// killed run: a copy in progress is younger, because it is written to all the time.
const leftoverAge = 10 * time.Minute

// clean removes data that the control plane does not know (a run was killed between
// creating and recording it) or has recorded as deleted.
func (s state) clean(ctx context.Context, store ec2test.Store) error {
	return store.View(ctx, func(w *ec2test.World) error {
		now := time.Now()
		keep := func(file string) bool {
			id, _, _ := strings.Cut(filepath.Base(file), ".")
			for _, part := range w.Parts() {
				if v := part.Volumes[id]; v != nil {
					return v.Deleted.IsZero()
				}
				if snap := part.Snapshots[id]; snap != nil {
					return snap.Deleted.IsZero()
				}
				if i := part.Instances[id]; i != nil {
					return i.Terminated.IsZero()
				}
			}
			info, err := os.Stat(file)
			return err != nil || now.Sub(info.ModTime()) < leftoverAge
		}
		for _, pattern := range []string{"volumes/*", "snapshots/*.img", "roots/*"} {
			files, err := filepath.Glob(filepath.Join(s.dir, pattern))
			if err != nil {
				return fmt.Errorf("look for leftovers: %w", err)
			}
			for _, file := range files {
				if keep(file) {
					continue
				}
				if err := os.RemoveAll(file); err != nil {
					return fmt.Errorf("remove a leftover: %w", err)
				}
			}
		}
		return nil
	})
}
