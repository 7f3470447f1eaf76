package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// sink is the single path for a command's output: stdout, stderr, and systemd's status. While
// it is held, it writes nothing; on release it writes all held output in order.
//
// The held output is not bounded: a file system is frozen for at most 10 s, in which a run
// writes a few kilobytes.
type sink struct {
	mu   sync.Mutex // held during a write, so that hold waits for it
	hold bool
	held []func()
}

// do calls write now, or on release.
func (o *sink) do(write func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hold {
		o.held = append(o.held, write)
		return
	}
	write()
}

// Hold holds all output until release is called; calling release again does nothing. Hold
// returns when no write is under way.
func (o *sink) Hold() (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hold = true
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, write := range o.held {
			write()
		}
		o.hold, o.held = false, nil
	})
}

// to returns a stream that writes to w.
func (o *sink) to(w io.Writer) *stream {
	return &stream{out: o, w: w, tty: terminal(w) != nil}
}

// stream is stdout or stderr.
type stream struct {
	out    *sink
	w      io.Writer
	tty    bool
	closed bool  // nobody reads it any more; guarded by out.mu
	failed error // of the first write that failed; guarded by out.mu
}

// failure returns the error of the first write that failed, for example of a full disk.
func (s *stream) failure() error {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.failed
}

// Write returns no error if the reader has closed the pipe, as in "snapsource up | head", or
// if the terminal is gone: it drops the output, and the work continues. Other errors are also
// kept for [stream.failure]: nobody else needs to check them.
func (s *stream) Write(text []byte) (int, error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.hold {
		text = bytes.Clone(text)
		s.out.held = append(s.out.held, func() { _, _ = s.write(text) }) // its error is kept
		return len(text), nil
	}
	return s.write(text)
}

// write is Write for callers that hold out.mu.
func (s *stream) write(text []byte) (int, error) {
	if s.closed {
		return len(text), nil
	}
	n, err := s.w.Write(text)
	if errors.Is(err, syscall.EPIPE) || s.tty && errors.Is(err, syscall.EIO) { // EIO: a hang-up, tty_write(9)
		s.closed = true
		return len(text), nil
	}
	if s.failed == nil {
		s.failed = err
	}
	return n, err
}

// draw writes text that is soon redrawn, unless the sink is held.
func (s *stream) draw(text string) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if !s.out.hold {
		_, _ = s.write([]byte(text)) // the next redraw may succeed
	}
}

// terminal returns the terminal behind a writer, or nil.
func terminal(w io.Writer) *os.File {
	if s, ok := w.(*stream); ok {
		w = s.w
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
