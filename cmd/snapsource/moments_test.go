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
	"snapsource/agent/agenttest"
	"snapsource/agent/deploy"
	"snapsource/agent/hotset"
	"snapsource/agent/record"
	"snapsource/agent/report"
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
		os.Exit(withLab(m.Run))
	case os.Getenv(listMoments) == "" && os.Getenv(killAtMoment) == "":
		main()
	}
	mountfs.RunGuard()
	at := newMoments()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	on := agenttest.Watched(realHost{agent.NewHost(record.RunDir), deploy.NewHost(record.RunDir)}, at.pass)
	os.Exit(run(ctx, host{agenttest.HostOf(on), on, record.Dir(record.RunDir)}, os.Args[1:], os.Stdout, &watchedLog{os.Stderr, at}))
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
	// They are this process's, not those of the one that up starts.
	os.Unsetenv(listMoments)
	os.Unsetenv(killAtMoment)
	return m
}

// pass is called at a moment. Those with the same name are numbered.
func (m *moments) pass(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[name]++
	moment := fmt.Sprintf("%s #%d", name, m.seen[name])
	if moment == m.kill {
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	_, err := fmt.Fprintln(m.list, moment)
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
	if json.Unmarshal(line, &e) == nil && (e.Phase == string(report.Started) || e.Phase == string(report.Done)) {
		if err := l.at.pass(e.Step + " is " + e.Phase); err != nil {
			return 0, err
		}
	}
	return l.Writer.Write(line)
}

// realHost is the machine that the program runs on.
type realHost struct {
	agent.Host
	snapshots
}

// snapshots is the part of a [deploy.Host] that an [Host] lacks.
type snapshots interface {
	RecordHotSet(ctx context.Context, mountpoint string) (hotset.Summary, error)
	Flush(mountpoint string) error
	Freeze(mountpoint string, limit time.Duration, lost func()) (deploy.Frozen, error)
	Revision(dir string) string
}
