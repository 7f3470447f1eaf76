package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
)

const (
	// endGrace is how long a command may continue after its deadline or the first signal. Only
	// a blocked system call takes that long.
	endGrace = 10 * time.Second

	// undoGrace is the same for up, init and down. After a failure the agent undoes its work
	// for up to 2 minutes and abandons a launch hook for up to 30 s.
	undoGrace = 150 * time.Second

	// lookupGrace is the same for snapshot. After a lost response it looks for the snapshot
	// for up to 60 s and rejects it for up to 30 s.
	lookupGrace = 90 * time.Second

	// configTimeout bounds reading the configuration, which may be on a hung file system. The
	// configured timeout is not known yet.
	configTimeout = 30 * time.Second

	// repeatWindow is how long a further signal counts as a repeat of the first: timeout(1)
	// signals the process and then its process group, and on a hang-up both the kernel and
	// sudo send SIGHUP.
	repeatWindow = time.Second

	// reportTimeout bounds printing why the watchdog ends the program: stderr itself may be
	// blocked.
	reportTimeout = time.Second
)

// watchdog ends the program if its work does not end after the deadline or a signal. A
// blocked system call, on a path, a device or a pipe, ignores the end of a context. A nil
// watchdog does nothing.
type watchdog struct {
	exit   func(code int) // os.Exit, except in tests
	report func(error)    // may block

	once sync.Once

	mu       sync.Mutex
	activity string // what the program is doing
	since    time.Time
	grace    time.Duration // after the deadline or the first signal
	limit    *time.Timer   // of the work
	first    time.Time     // when the first signal came
}

func newWatchdog() *watchdog {
	return &watchdog{
		exit: os.Exit, report: func(err error) { explain(os.Stderr, err) },
		activity: "begin", since: time.Now(), grace: endGrace,
	}
}

// allow sets the activity and its time limit, counted from now; 0 is no limit. The watchdog
// ends the program grace after the limit, or grace after the first signal.
func (w *watchdog) allow(activity string, limit, grace time.Duration) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.activity, w.since, w.grace = activity, time.Now(), grace
	if w.limit != nil {
		w.limit.Stop()
	}
	if limit > 0 {
		w.limit = time.AfterFunc(limit+grace, func() {
			w.end(fmt.Sprintf("not done within %s, nor %s later", limit, grace) + noAnswerHint)
		})
	}
}

// useJSON makes the watchdog report as a JSON log line, and then as the command's document.
func (w *watchdog) useJSON(command string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report = func(err error) {
		logFailure(newLog(os.Stderr, true, false), err)
		writeJSON(os.Stdout, header{formatVersion, command, report.ProblemOf(err)})
	}
}

// at sets the activity.
func (w *watchdog) at(activity string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.activity, w.since = activity, time.Now()
}

// event sets the activity from an event of a run.
func (w *watchdog) event(e report.Event) {
	switch e.Phase {
	case report.Started:
		w.at(e.Source + ": " + string(e.Step))
	case report.Done, report.Failed:
		w.at(e.Source + ": after " + string(e.Step))
	}
}

// signalled is called for each signal. It reports whether the signal is the first, on which
// the caller cancels the work. A second signal ends the program, except during lookup.
func (w *watchdog) signalled(name string) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.first.IsZero():
		w.first = time.Now()
		grace := w.grace
		time.AfterFunc(w.grace, func() { w.end(fmt.Sprintf("not ended %s after %s", grace, name) + noAnswerHint) })
		return true
	case strings.HasSuffix(w.activity, ": "+string(report.Lookup)):
		// lookup ends by itself. Without it a snapshot in doubt would stay eligible.
	case time.Since(w.first) >= repeatWindow:
		go w.end("a second signal, " + name + ", ends it at once")
	}
	return false
}

// noAnswerHint says why the program does not end by itself, and what to check.
const noAnswerHint = "; a system call is blocked: check the configured paths for a dead mount (findmnt), or for a pipe that nobody reads"

// end ends the program. Then the guard thaws a frozen file system, and the kernel releases
// the host's lock. Both happen once all threads are gone; a thread in uninterruptible sleep
// delays that.
func (w *watchdog) end(why string) { w.once.Do(func() { w.endNow(why) }) }

func (w *watchdog) endNow(why string) {
	w.mu.Lock()
	err := &stuckError{fmt.Sprintf("%s, %s in: %s", w.activity, span(time.Since(w.since)), why)}
	report := w.report
	w.mu.Unlock()
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		report(err)
	}()
	select {
	case <-reported:
	case <-time.After(reportTimeout):
	}
	w.exit(failure.ExitTemporary)
}

// stuckError is the error of a run that the watchdog ended.
type stuckError struct{ text string }

func (e *stuckError) Error() string { return e.text }

// Unwrap returns [failure.ErrTemporary].
func (e *stuckError) Unwrap() error { return failure.ErrTemporary }

// stopped is the cause of a context that a signal canceled.
type stopped string

func (s stopped) Error() string { return string(s) + " signal received" }

// Is makes a signal match context.Canceled.
func (s stopped) Is(target error) bool { return target == context.Canceled }

// signals returns a context that SIGTERM, SIGINT or SIGHUP cancels. SIGINT and SIGHUP do not
// if they were ignored at the start, for example under nohup(1).
//
// Without a handler for SIGPIPE the runtime would end the program on a write to a closed
// stdout or stderr. With one, the write returns an error. (package os/signal)
func signals(w *watchdog) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	ends := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} { // ignored in a shell's background job, or under nohup(1)
		if !signal.Ignored(s) {
			ends = append(ends, s)
		}
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	got := make(chan os.Signal, 2)
	signal.Notify(got, ends...)
	readPending(ends, got)
	go func() { // ends with the program
		for s := range got {
			name := s.String()
			if n, ok := s.(syscall.Signal); ok {
				name = signalNames[n]
			}
			if w.signalled(name) {
				cancel(stopped(name))
			}
		}
	}()
	return ctx
}

var signalNames = map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM", syscall.SIGHUP: "SIGHUP"}
