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

// sink is the one way out for what a command writes: stdout, stderr, and what systemd
// is told. While it is held nothing is written, and in the end all of it in order.
//
// What is held is not bounded: a file system is frozen for 10 s at most, in which a run
// writes some kilobytes.
type sink struct {
	mu   sync.Mutex // held during a write, so that hold waits for it
	hold bool
	held []func()
}

// do writes now, or when the sink is released.
func (o *sink) do(write func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hold {
		o.held = append(o.held, write)
		return
	}
	write()
}

// Hold keeps back what is written until release is called, which may be done twice. It
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

// to gives the stream to a file, or whatever a test reads.
func (o *sink) to(w io.Writer) *stream { return &stream{out: o, w: w} }

// stream is stdout or stderr.
type stream struct {
	out    *sink
	w      io.Writer
	closed bool // whoever read it is gone; guarded by out.mu
}

// Write gives no error when the reader of a pipe is gone, as that of "snapsource up |
// head" is: what is written then is dropped, and the work goes on. Other errors, of a full
// disk for instance, are for those who write a command's result.
func (s *stream) Write(text []byte) (int, error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.hold {
		text = bytes.Clone(text)
		s.out.held = append(s.out.held, func() { _, _ = s.write(text) }) // no result: those come at the end
		return len(text), nil
	}
	return s.write(text)
}

// write is Write for who has the lock.
func (s *stream) write(text []byte) (int, error) {
	if s.closed {
		return len(text), nil
	}
	n, err := s.w.Write(text)
	if errors.Is(err, syscall.EPIPE) {
		s.closed = true
		return len(text), nil
	}
	return n, err
}

// draw writes what is soon drawn again, unless the sink is held.
func (s *stream) draw(text string) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if !s.out.hold {
		_, _ = s.write([]byte(text)) // the next one will do
	}
}

// terminal gives the terminal behind a writer, or nil.
func terminal(w io.Writer) *os.File {
	if s, ok := w.(*stream); ok {
		w = s.w
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
