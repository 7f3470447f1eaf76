//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// terminalPair opens a terminal, and the side of it on which somebody types and reads.
func terminalPair(t *testing.T) (tty, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty, person
}

// atTerminal runs a command line on a terminal. Somebody gives the answer when asked to
// continue; "^C" is a signal, "^D" the end of the input.
func atTerminal(t *testing.T, line, answer string) (code int, seen, said string) {
	t.Helper()
	var stderr bytes.Buffer
	code, seen = typed(t, line, answer, func(tty *os.File) (io.Writer, io.Writer) { return tty, &stderr })
	return code, seen, stderr.String()
}

// typed is atTerminal with other streams for the output than the terminal.
func typed(t *testing.T, line, answer string, streams func(tty *os.File) (stdout, stderr io.Writer)) (code int, seen string) {
	t.Helper()
	tty, person := terminalPair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	var shown bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() {
		for one := make([]byte, 1); ; {
			if _, err := person.Read(one); err != nil {
				return // the terminal is closed
			}
			shown.Write(one)
			if !strings.HasSuffix(shown.String(), "[y/N] ") {
				continue
			}
			switch answer {
			case "^C":
				cancel(stopped("SIGINT"))
			case "^D":
				_, _ = io.WriteString(person, "\x04")
			default:
				_, _ = io.WriteString(person, answer+"\n")
			}
		}
	})
	stdout, stderr := streams(tty)
	code = (&program{stdin: tty}).run(ctx, strings.Fields(line), stdout, stderr)
	_, _ = io.WriteString(person, "\n") // ends a read that still waits for an answer
	tty.Close()
	reader.Wait()
	return code, shown.String()
}

// TestConfirm: on a terminal, what takes something away asks first; --yes and scripts are not
// asked.
func TestConfirm(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	atWorkstation(t, fake.EC2URL)
	t.Setenv("TERM", "xterm")
	left := func() int {
		_, out, _ := say(t, "snapshots --output json")
		return strings.Count(out, `"snapshot": `)
	}
	for _, test := range []struct {
		line, answer string
		code         int
		asked        bool
		said         string
		left         int
	}{
		{"prune --keep 1", "n", 75, true, "not confirmed; nothing is changed", 2},
		{"prune --keep 1", "", 75, true, "not confirmed; nothing is changed", 2},
		{"prune --keep 1", "^C", 75, true, "interrupted by SIGINT; nothing is changed", 2},
		{"prune --keep 1 --dry-run", "", 0, false, "", 2},
		{"prune --keep 1", "y", 0, true, "", 1},
		{"prune --keep 1 --yes", "", 0, false, "", 1},
		{"prune --keep 1 --output json", "", 0, false, "", 1},
		{"reject latest --allow-none", "no", 75, true, "not confirmed", 2},
		{"reject latest --allow-none", "yes", 0, true, "", 2},
		{"reject latest --allow-none -y", "", 0, false, "", 2},
	} {
		addTwo(t, store)
		code, seen, said := atTerminal(t, test.line, test.answer)
		if code != test.code || strings.Contains(seen, "continue? [y/N] ") != test.asked || !strings.Contains(said, test.said) || test.said == "" && said != "" || left() != test.left {
			t.Errorf("%s, %q: exit code %d, %d left\n%s%s", test.line, test.answer, code, left(), seen, said)
		}
		if test.asked && !strings.Contains(seen, "will be ") {
			t.Errorf("%s does not say what it will do:\n%s", test.line, seen)
		}
	}
}

// TestConfirmInPipe: with stdout in a pipe the question, and what it is about, are on stderr.
// Where nobody sees either, nobody is asked.
func TestConfirmInPipe(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	atWorkstation(t, fake.EC2URL)
	for _, test := range []struct {
		line, answer string
		code         int
		out          string
	}{
		{"prune --keep 1", "n", 75, ""},
		{"prune --keep 1", "y", 0, "deleted"},
		{"reject latest --allow-none", "^D", 75, ""},
		{"reject latest --allow-none", "y", 0, "is rejected"},
	} {
		addTwo(t, store)
		var pipe bytes.Buffer
		code, seen := typed(t, test.line, test.answer, func(tty *os.File) (io.Writer, io.Writer) { return &pipe, tty })
		if code != test.code || !strings.Contains(pipe.String(), test.out) || test.out == "" && pipe.Len() > 0 || strings.Contains(pipe.String(), "will be") {
			t.Errorf("%s, %s: exit code %d\n%s", test.line, test.answer, code, pipe.String())
		}
		if question := strings.Index(seen, "continue? [y/N] "); question < 0 || !strings.Contains(seen[:question], " will be ") || strings.Contains(seen, "[y/N] snapsource") {
			t.Errorf("%s, %s: on the terminal there is\n%q", test.line, test.answer, seen)
		}
	}
	addTwo(t, store)
	var pipe bytes.Buffer
	if code, seen := typed(t, "prune --keep 1", "n", func(*os.File) (io.Writer, io.Writer) { return &pipe, &pipe }); code != 0 || strings.Contains(seen, "continue?") {
		t.Errorf("with both in pipes: exit code %d\n%s%s", code, seen, pipe.String())
	}
	if _, seen, _ := atTerminal(t, "prune --keep 1", ""); !strings.Contains(seen, "nothing to prune") {
		t.Errorf("with nothing to do:\n%s", seen)
	}
}

// TestDumbTerminal: no control sequences for a terminal that has none.
func TestDumbTerminal(t *testing.T) {
	for term, want := range map[string]bool{"dumb": false, "xterm": true} {
		t.Setenv("TERM", term)
		tty, _ := terminalPair(t)
		var s sink
		table := newTable(s.to(tty), "up")
		table.close()
		if (table.tty != nil) != want {
			t.Errorf("TERM=%s: it draws: %t", term, !want)
		}
	}
}
