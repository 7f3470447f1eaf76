//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
)

// onTerminal returns what is printed on a terminal of a width.
func onTerminal(t *testing.T, width uint16, print func(io.Writer)) string {
	t.Helper()
	tty, person := terminalPair(t)
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: 24}); err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(person) // the error is that the terminal is closed
		shown <- string(text)
	}()
	var s sink
	print(s.to(tty))
	tty.Close()
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

// TestWrapped: on a terminal everything for people is wrapped at words, and continues below
// where it began; elsewhere nothing is wrapped.
func TestWrapped(t *testing.T) {
	const long = "the volume vol-0123456789abcdef0 of an earlier run is attached elsewhere, and nothing was changed"
	const word = "arn:aws:iam::123456789012:role/a-very-long-name-of-a-role-that-is-one-word"
	source := &report.Source{Source: "app", State: report.StateReady, Instance: "i-1", Zone: "us-west-2c", Volume: "vol-1", Notes: []string{long},
		Paths:   []report.Path{{Path: "/cp", Root: "/", Mounted: true, Options: []string{"rw,nosuid,nodev,noatime"}, Detail: long}},
		Actions: []report.Action{{Step: report.Create, What: long}}}
	result := func(command string) func(io.Writer) {
		return func(w io.Writer) {
			table := &table{out: w, command: command}
			table.finish(report.Report{Sources: []*report.Source{source}})
		}
	}
	for name, print := range map[string]func(io.Writer){
		"errors": func(w io.Writer) { explain(w, failure.Advise(errors.New(long), long)) },
		"a word": func(w io.Writer) { explain(w, errors.New("denied to "+word+" in this account")) },
		"status": result("status"),
		"plan":   result("plan"),
		"next": func(w io.Writer) {
			(&table{out: w}).next(&report.Source{Source: "shop", Paths: []report.Path{{Path: "/srv/shop", Root: "/"}}})
		},
		"prune": func(w io.Writer) {
			printPruned(w, []releases.Pruned{{ID: "snap-0123456789abcdef0", Reason: long, Age: time.Hour, SizeGiB: 5}}, "will be deleted")
		},
		"reject": func(w io.Writer) {
			printRejected(w, releases.Rejected{Snapshot: "snap-1"}, "is rejected; a launch now takes")
		},
		"blocks": func(w io.Writer) { printBlocks(w, [][]string{{"ID", "WHY"}, {"snap-1", long}}) },
	} {
		var pipe bytes.Buffer
		print(&pipe)
		for _, width := range []int{40, 60, 200} {
			shown := onTerminal(t, uint16(width), print)
			if got, want := strings.Join(strings.Fields(shown), " "), strings.Join(strings.Fields(pipe.String()), " "); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			for line := range strings.Lines(shown) {
				line = strings.TrimSuffix(line, "\n")
				if utf8.RuneCountInString(line) > width && strings.TrimSpace(line) != word {
					t.Errorf("%s: wider than %d: %q", name, width, line)
				}
			}
			if width == 200 && shown != pipe.String() && name != "errors" {
				t.Errorf("%s: on a wide terminal\n%s", name, shown)
			}
		}
	}
	const want = "  mount      /cp, rw,nosuid,nodev,noatime: the\n             volume vol-0123456789abcdef0 of an\n"
	if shown := onTerminal(t, 50, result("status")); !strings.Contains(shown, want) {
		t.Errorf("a row does not continue below its text:\n%s", shown)
	}
}

// TestAge: a sentence has no 0 min.
func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "less than a minute", 0: "less than a minute", 59 * time.Second: "less than a minute", time.Minute: "1 min",
		2 * time.Hour: "2 h", 48 * time.Hour: "2 days",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
