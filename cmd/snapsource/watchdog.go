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
	// endWithin is how long a command may go on after its deadline or the first signal:
	// nothing but calls that the kernel does not end takes that long.
	endGrace = 10 * time.Second

	// giveBackWithin is the same for up, init and down. The agent deletes a volume for 2
	// minutes and abandons a launch hook for 30 s after the run has failed.
	undoGrace = 150 * time.Second

	// lookUpWithin is the same for snapshot, which looks for a snapshot whose answer was
	// lost for 60 s and rejects it for 30 s.
	lookupGrace = 90 * time.Second

	// configWithin bounds reading the configuration, whose file may be on a file system
	// that does not answer. The deadline that is in it is not known yet.
	configTimeout = 30 * time.Second

	// sameSignal is for how long a signal counts as the one before: timeout(1) sends its
	// own to the process and then to the process group, and at a hang-up the kernel and
	// sudo both send one.
	repeatWindow = time.Second

	// lastWords is how long the watchdog tries to tell why it ends the program: stderr may
	// be what does not answer.
	reportTimeout = time.Second
)

// watchdog ends the program when its work does not end, though its deadline is over or it
// got a signal: a call of the kernel's on a path, a device or a pipe that never answers
// does not see a context's end. A nil watchdog does nothing.
type watchdog struct {
	exit   func(code int) // os.Exit but in tests
	report func(error)    // may block

	once sync.Once

	mu       sync.Mutex
	activity string // what the work is at
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

// allow sets what the work is at and how long it may take from now on, 0 for no limit;
// grace more if it does not end by itself then.
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

// tellMachines has it told as a JSON log line.
func (w *watchdog) useJSON() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report = func(err error) { logFailure(newLog(os.Stderr, true, false), err) }
}

// at notes what the work is at.
func (w *watchdog) at(activity string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.activity, w.since = activity, time.Now()
}

// event notes what a run is at.
func (w *watchdog) event(e report.Event) {
	switch e.Phase {
	case report.Started:
		w.at(e.Source + ": " + string(e.Step))
	case report.Done, report.Failed:
		w.at(e.Source + ": after " + string(e.Step))
	}
}

// signalled is called for each signal. It says whether it is the first, which asks the work to
// end; a second one ends the program.
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
		// It ends by itself, and what it looks for would stay eligible.
	case time.Since(w.first) >= repeatWindow:
		go w.end("a second signal, " + name + ", ends it at once")
	}
	return false
}

// noAnswer is why a program does not end by itself, and where to look.
const noAnswerHint = "; the kernel does not answer: look for a dead mount on the paths of the configuration (findmnt), or a pipe that nobody reads"

// end ends the program. What is frozen is thawed by its guard, and the kernel frees the
// host's lock, both once no thread is left: the kernel ends none that waits in
// uninterruptible sleep.
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

// stuckError is the error of a run that the watchdog ends.
type stuckError struct{ text string }

func (e *stuckError) Error() string { return e.text }

// Unwrap says what it means.
func (e *stuckError) Unwrap() error { return failure.ErrTemporary }

// stopped is the cause of a context that a signal has ended.
type stopped string

func (s stopped) Error() string { return string(s) + " signal received" }

// Is has a signal mean the same as any other end of a context.
func (s stopped) Is(target error) bool { return target == context.Canceled }

// signals gives a context that the first of the signals ends that ask a program to end.
// SIGHUP is one of them, unless the program was started by nohup(1) or the like.
//
// Without a handler for SIGPIPE the runtime would end the program at a write to a closed
// stdout or stderr; with one, the write gives an error. (package os/signal)
func signals(w *watchdog) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	ends := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} { // as a shell's background job, or under nohup(1)
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
