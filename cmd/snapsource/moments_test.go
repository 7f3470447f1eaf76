//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/agent"
	"snapsource/mountfs"
)

const (
	// listMoments, with a file's name, has the program write down the moments that it
	// goes through.
	listMoments = "TEST_LIST_MOMENTS"
	// killAtMoment, with one of those, has the program end there by SIGKILL.
	killAtMoment = "TEST_KILL_AT"
)

// TestMain lets the test binary be the program itself, so that the sandbox runs
// what was built with the test's own flags (-race included).
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("RUN_TEST_AS_PROGRAM") == "":
		os.Exit(withTemplate(m.Run))
	case os.Getenv(listMoments) == "" && os.Getenv(killAtMoment) == "":
		main()
	}
	mountfs.BeGuard()
	at := newMoments()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx, watchedHost{agent.NewHost(agent.RunDir), at}, os.Args[1:], os.Stdout, &watchedLog{os.Stderr, at}))
}

// moments are the points of a run at which it can be killed: the begin and the end of
// each step, and before and after each thing that it does to the host.
type moments struct {
	mu   sync.Mutex
	seen map[string]int
	list io.Writer
	kill string
}

func newMoments() *moments {
	m := &moments{seen: map[string]int{}, list: io.Discard, kill: os.Getenv(killAtMoment)}
	if file := os.Getenv(listMoments); file != "" {
		list, err := os.Create(file)
		if err != nil {
			panic(err)
		}
		m.list = list
	}
	return m
}

// pass is called at a moment. Those with the same name are numbered.
func (m *moments) pass(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[name]++
	moment := fmt.Sprintf("%s #%d", name, m.seen[name])
	if moment == m.kill {
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	fmt.Fprintln(m.list, moment)
}

// around calls do between two moments.
func around[T any](m *moments, name string, do func() (T, error)) (T, error) {
	m.pass("before " + name)
	v, err := do()
	m.pass("after " + name)
	return v, err
}

func (m *moments) aroundError(name string, do func() error) error {
	_, err := around(m, name, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// watchedLog passes a moment when a step begins or ends, which the log tells with -v
// --output json.
type watchedLog struct {
	io.Writer
	at *moments
}

func (l *watchedLog) Write(line []byte) (int, error) {
	var e struct{ Step, Phase string }
	if json.Unmarshal(line, &e) == nil && (e.Phase == string(agent.Started) || e.Phase == string(agent.Done)) {
		l.at.pass(e.Step + " is " + e.Phase)
	}
	return l.Writer.Write(line)
}

// watchedHost passes moments around all that changes the host.
type watchedHost struct {
	agent.Host
	at *moments
}

func (h watchedHost) Lock(ctx context.Context, waiting func()) (func() error, error) {
	return around(h.at, "lock", func() (func() error, error) { return h.Host.Lock(ctx, waiting) })
}

func (h watchedHost) MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error) {
	return around(h.at, "mount", func() (mountfs.XFSMount, error) { return h.Host.MountXFS(d, target, options) })
}

func (h watchedHost) Grow(mountpoint string, size int64) (before, after int64, err error) {
	err = h.at.aroundError("grow", func() error {
		before, after, err = h.Host.Grow(mountpoint, size)
		return err
	})
	return before, after, err
}

func (h watchedHost) Bind(mountpoint, dir, target string, create bool) (bool, error) {
	return around(h.at, "bind", func() (bool, error) { return h.Host.Bind(mountpoint, dir, target, create) })
}

func (h watchedHost) Unmount(target string) error {
	return h.at.aroundError("unmount", func() error { return h.Host.Unmount(target) })
}

func (h watchedHost) Flush(mountpoint string) error {
	return h.at.aroundError("flush", func() error { return h.Host.Flush(mountpoint) })
}

func (h watchedHost) SaveRecord(r agent.Record) error {
	return h.at.aroundError("record", func() error { return h.Host.SaveRecord(r) })
}

func (h watchedHost) DropRecord(source string) error {
	return h.at.aroundError("drop record", func() error { return h.Host.DropRecord(source) })
}

func (h watchedHost) Freeze(mountpoint string, limit time.Duration, lost func()) (agent.Frozen, error) {
	return around(h.at, "freeze", func() (agent.Frozen, error) {
		f, err := h.Host.Freeze(mountpoint, limit, lost)
		if err != nil {
			return nil, err
		}
		return watchedFrozen{f, h.at}, nil
	})
}

type watchedFrozen struct {
	agent.Frozen
	at *moments
}

func (f watchedFrozen) Thaw() (time.Duration, error) {
	return around(f.at, "thaw", f.Frozen.Thaw)
}

func (h watchedHost) OpenDisk(d mountfs.Device) (agent.Disk, error) {
	disk, err := h.Host.OpenDisk(d)
	if err != nil {
		return nil, err
	}
	return watchedDisk{disk, h.at}, nil
}

type watchedDisk struct {
	agent.Disk
	at *moments
}

func (d watchedDisk) Format(ctx context.Context, f mountfs.Format) error {
	return d.at.aroundError("mkfs.xfs", func() error { return d.Disk.Format(ctx, f) })
}
