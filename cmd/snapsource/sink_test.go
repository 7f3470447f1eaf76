package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSinkHolds: what is held comes in order, of both streams, and each once.
func TestSinkHolds(t *testing.T) {
	var s sink
	var file bytes.Buffer // 2>&1
	stdout, stderr := s.to(&file), s.to(&file)
	io.WriteString(stdout, "1 ")
	release := s.Hold()
	line := []byte("2 ")
	stderr.Write(line)
	copy(line, "X ") // a logger uses its buffer again
	io.WriteString(stdout, "3 ")
	stdout.draw("drawn ")
	s.do(func() { file.WriteString("4 ") })
	if file.String() != "1 " {
		t.Errorf("while held: %q", file.String())
	}
	release()
	io.WriteString(stdout, "5")
	release()
	if file.String() != "1 2 3 4 5" {
		t.Errorf("released: %q", file.String())
	}
}

type failing struct {
	err    error
	writes int
}

func (f *failing) Write([]byte) (int, error) { f.writes++; return 0, f.err }

// TestSinkErrors: that nobody reads any more is no error, that the disk is full is one.
func TestSinkErrors(t *testing.T) {
	var s sink
	gone := &failing{err: &os.PathError{Op: "write", Err: syscall.EPIPE}}
	out := s.to(gone)
	for range 3 {
		if n, err := io.WriteString(out, "text"); n != 4 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if gone.writes != 1 {
		t.Errorf("%d writes to nobody", gone.writes)
	}
	if _, err := io.WriteString(s.to(&failing{err: syscall.ENOSPC}), "text"); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

// TestOneWayOut: all that commands write goes through the sink. Main gives it the files,
// and the watchdog writes when nothing else does any more.
func TestOneWayOut(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") || file == "main.go" || file == "watchdog.go" {
			continue
		}
		for _, name := range []string{"os.Stdout", "os.Stderr", "fmt.Fprint", "fmt.Print"} {
			if strings.Contains(string(text), name) && file != "text.go" {
				t.Errorf("%s has %s; output for people must be written by printEscaped", file, name)
			}
		}
	}
}
