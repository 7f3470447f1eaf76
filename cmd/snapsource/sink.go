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

// sink receives all output of a command: stdout, stderr, and notifications to systemd.
// While it is held it buffers them, and later writes them in order.
//
// The buffer is unbounded: a file system is frozen for 10 s at most, in which a run writes
// some kilobytes.
type sink struct {
	mu   sync.Mutex // held during a write, so that hold waits for it
	hold bool
	held []func()
}

// do calls write now, or when the sink is released.
func (o *sink) do(write func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hold {
		o.held = append(o.held, write)
		return
	}
	write()
}

// Hold buffers output until release is called; release may be called twice. Hold returns
// when no write is in progress.
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

// to returns the stream to a file, or to a test's buffer.
func (o *sink) to(w io.Writer) *stream { return &stream{out: o, w: w} }

// stream is stdout or stderr.
type stream struct {
	out  *sink
	w    io.Writer
	gone bool // its reader is gone; guarded by out.mu
}

// Write returns no error if the reader of a pipe is gone, as with "snapsource up | head":
// the output is dropped, and the work goes on. It returns other errors, such as a full
// disk, for commands that print a result.
func (s *stream) Write(text []byte) (int, error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.hold {
		text = bytes.Clone(text)
		s.out.held = append(s.out.held, func() { _, _ = s.write(text) }) // not a result: those are written at the end
		return len(text), nil
	}
	return s.write(text)
}

// write is Write with the lock held.
func (s *stream) write(text []byte) (int, error) {
	if s.gone {
		return len(text), nil
	}
	n, err := s.w.Write(text)
	if errors.Is(err, syscall.EPIPE) {
		s.gone = true
		return len(text), nil
	}
	return n, err
}

// draw writes temporary output, such as a progress line, unless the sink is held.
func (s *stream) draw(text string) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if !s.out.hold {
		_, _ = s.write([]byte(text)) // the next one replaces it
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
