package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// TestStepLines: lines have room for what they say, and are not wider than the terminal.
func TestStepLines(t *testing.T) {
	const long = "snap-0eb543021e62afc63, 2026-11-24 02:50 UTC, 65536 GiB"
	for _, width := range []int{0, 40, 60, 80, 200} {
		var widths []int
		for _, detail := range []string{"", "deleted on termination", long, "roles " + strings.Repeat("app,", 5) + "web, deleted on termination, launch hook wait-for-source continued"} {
			lines := stepLines(report.Choose, detail, 1500*time.Millisecond, width)
			last := lines[len(lines)-1]
			if !strings.HasSuffix(last, "   1.50 s") || !strings.HasPrefix(lines[0], "  choose     ") {
				t.Errorf("%d: %q", width, lines)
			}
			text := ""
			for _, l := range lines {
				if width > 0 && utf8.RuneCountInString(l) >= width {
					t.Errorf("%d: %q is too wide", width, l)
				}
				text += strings.TrimSuffix(l[stepIndent:], "1.50 s") + " "
			}
			if got := strings.Join(strings.Fields(text), " "); got != detail {
				t.Errorf("%d: %q, want %q", width, got, detail)
			}
			widths = append(widths, utf8.RuneCountInString(last))
		}
		if widths[0] != widths[1] || widths[0] != widths[2] {
			t.Errorf("%d: the times are at %d", width, widths)
		}
	}
}

// TestRunningLine: the step that is under way fits, with its clock.
func TestRunningLine(t *testing.T) {
	e := report.Event{Step: report.Announce, Detail: "vol-0123456789abcdef0 is attaching, and EC2 has throttled AttachVolume for some time"}
	for _, width := range []int{0, 40, 41, 80, 200} {
		line := runningLine(e, 125*time.Second, width)
		if n := utf8.RuneCountInString(line); width > 0 && n >= width || !strings.HasSuffix(line, " 2 min 5 s") || !strings.Contains(line, "announce   vol-01") {
			t.Errorf("%d: %d characters: %q", width, n, line)
		}
	}
	if line := runningLine(report.Event{Step: report.Attach}, time.Second, 80); !strings.HasPrefix(line, "  attach     the volume is being attached ") {
		t.Errorf("without a reason: %q", line)
	}
}

// TestColumns: one column is cut so that the others fit.
func TestColumns(t *testing.T) {
	rows := [][]string{{"ID", "TEXT", "WHY"}, {"a", strings.Repeat("x", 50), "yes"}}
	if fits(rows, 1, 10) || !fits(rows, 1, 14) || !fits(rows, 1, 0) {
		t.Error("fits")
	}
	var out bytes.Buffer
	printColumns(&out, rows, 1)
	if want := "ID  TEXT" + strings.Repeat(" ", 48) + "WHY\na   " + strings.Repeat("x", 50) + "  yes\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	printBlocks(&out, [][]string{{"ID", "TEXT", "WHY"}, {"a", "", "yes"}})
	if out.String() != "a\n  WHY   yes\n" {
		t.Errorf("%q", out.String())
	}
}

// TestSeveralSources: each line stands below the header of its source, or names it.
func TestSeveralSources(t *testing.T) {
	identity := ec2ops.Identity{InstanceID: "i-1", Zone: "us-west-2c"}
	show := func(command string, showing showing) string {
		var out bytes.Buffer
		table := newTable(&out, command)
		table.several, table.show = true, showing
		percent := 7
		for _, e := range []report.Event{
			{Source: "a", Step: report.Identify, Phase: report.Done, Identity: identity},
			{Source: "b", Phase: report.Noted, Detail: "of b"},
			{Source: "a", Phase: report.Noted, Detail: "of a"},
			{Source: "b", Step: report.Complete, Phase: report.Waiting, Detail: "snap-1 is pending", Percent: &percent},
			{Source: "b", Step: report.Attach, Phase: report.Failed, Err: errors.New("broken")},
			{Source: "a", Step: report.Attach, Phase: report.Failed, Err: fmt.Errorf("attach: %w", stopped("SIGINT"))},
			{Phase: report.Noted, Detail: "of all"},
		} {
			table.event(e)
		}
		table.finish(report.Report{Sources: []*report.Source{
			{Source: "a", Changed: true, Paths: []report.Path{{Path: "/a", Root: "/"}, {Path: "/srv/a", Root: "/a"}}},
			{Source: "b", Instance: "i-1", Zone: "us-west-2c", Volume: "vol-1", Paths: []report.Path{{Path: "/b", Root: "/"}}}, {Source: "c", Error: &report.Problem{}},
		}})
		table.close()
		return strings.Join(strings.FieldsFunc(out.String(), func(r rune) bool { return r == ' ' }), " ")
	}
	for _, test := range []struct {
		command string
		showing showing
		want    string
	}{
		{"init", showAll, "a on i-1, us-west-2c\n identify 0 ms\nb on i-1, us-west-2c\n note: of b\na on i-1, us-west-2c\n note: of a\n" +
			"b on i-1, us-west-2c\n wait snap-1 is pending, 7% 0 ms\n attach failed 0 ms\na on i-1, us-west-2c\n attach interrupted 0 ms\n note: of all\n" +
			"Source a is ready: 0 ms, of which EC2 0 ms\nnext: write the first release into /srv/a, then snapsource snapshot --wait --source a\n" +
			"b on i-1, us-west-2c\nSource b is ready: vol-1 at /b, nothing to do\n"},
		{"plan", showNotes, "note: b: of b\n note: a: of a\n note: of all\n"},
		{"up", showNothing, ""},
	} {
		if got := show(test.command, test.showing); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.command, got, test.want)
		}
	}
}

// TestAdviceOfReaders: a command that only reads has nothing to continue.
func TestAdviceOfReaders(t *testing.T) {
	for command, want := range map[string]string{"snapshots": "run it again", "prune": failure.Again} {
		err := adviceFor(command, failure.Several(ec2ops.ErrTemporary, ec2ops.ErrTemporary))
		for _, failed := range failure.Branches(err) {
			if failure.Hint(failed) != want || failure.ExitCode(failed) != failure.ExitTemporary {
				t.Errorf("%s: %q, exit code %d", command, failure.Hint(failed), failure.ExitCode(failed))
			}
		}
	}
	if err := adviceFor("snapshots", nil); err != nil {
		t.Error(err)
	}
}

// TestInterruption: a signal's errors become one line; others stay.
func TestInterruption(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	deep := fmt.Errorf("wait for vol-1: %w", fmt.Errorf("describe: %w: %w", ec2ops.ErrDenied, stopped("SIGINT")))
	if got := interruption(ctx, deep, ""); fmt.Sprint(got) != deep.Error() {
		t.Errorf("without a signal: %v", got)
	}
	cancel(stopped("SIGINT"))
	broken := errors.New("broken")
	killed := exec.CommandContext(t.Context(), "sh", "-c", "kill -INT $$").Run()
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, "<nil>"},
		{deep, "interrupted by SIGINT; again"},
		{failure.Several(deep, deep), "interrupted by SIGINT; again"},
		{failure.Several(broken, deep), "broken\ninterrupted by SIGINT; again"},
		{broken, "broken"},
		{fmt.Errorf("mkfs.xfs: %w", killed), "interrupted by SIGINT; again"},
		{&unanswered{stopped("SIGINT")}, "interrupted by SIGINT; nothing is changed"},
		{fmt.Errorf("%w: %w; reject snap-1", ec2ops.ErrOutcomeUnknown, stopped("SIGINT")), ec2ops.ErrOutcomeUnknown.Error() + ": SIGINT signal received; reject snap-1"},
	} {
		if got := fmt.Sprint(interruption(ctx, test.err, "; again")); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}

// TestNotesOfAReadySource: there is one header, with the instance, above the notes, which precede
// the result; also where the record of an earlier run is all that names the instance.
func TestNotesOfAReadySource(t *testing.T) {
	ready := &report.Source{Source: "app", State: report.StateReady, Instance: "i-1", Zone: "us-west-2c", Volume: "vol-1",
		Paths: []report.Path{{Path: "/cp", Root: "/"}}, Notes: []string{"size: 5 GiB"}}
	const header = "app on i-1, us-west-2c\n"
	for command, want := range map[string]string{
		"up":     header + "  note: size: 5 GiB\nSource is ready: vol-1 at /cp, nothing to do\n",
		"plan":   header + "  note: size: 5 GiB\nSource is ready: vol-1 at /cp, nothing to do\n",
		"status": header + "  state      ready\n  release    none, it began blank\n  volume     vol-1\n  mount      /cp\n  note: size: 5 GiB\n",
	} {
		var out bytes.Buffer
		table := newTable(&out, command)
		table.event(report.Event{Source: "app", Phase: report.Noted, Detail: "size: 5 GiB"})
		table.finish(report.Report{Sources: []*report.Source{ready}})
		table.close()
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", command, out.String(), want)
		}
	}
	var out bytes.Buffer
	table := newTable(&out, "up")
	table.event(report.Event{Source: "app", Phase: report.Noted, Detail: "early"})
	table.event(report.Event{Source: "app", Step: report.Identify, Phase: report.Failed, Err: errors.New("x")})
	table.finish(report.Report{Sources: []*report.Source{{Source: "app", Error: &report.Problem{}}}})
	table.close()
	if got := strings.Join(strings.Fields(out.String()), " "); got != "app note: early identify failed 0 ms" {
		t.Errorf("without an identity: %q", got)
	}
}
