package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"snapsource/agent/report"
)

// table prints progress for people: one line per step as it ends, and on a terminal the
// running step with its elapsed time. Lines begin in lower case and end without a period.
type table struct {
	out     io.Writer
	command string   // "up", "plan", …
	tty     *os.File // nil: out is not a terminal

	mu      sync.Mutex
	headed  string // the source whose header is printed
	running *report.Event
	stop    chan struct{}
	stopped sync.WaitGroup
}

func newTable(out io.Writer, command string) *table {
	t := &table{out: out, command: command, stop: make(chan struct{})}
	if t.tty = terminal(out); t.tty != nil {
		t.stopped.Go(t.animate)
	}
	return t
}

// close ends the animation on a terminal.
func (t *table) close() {
	close(t.stop)
	t.stopped.Wait()
}

// animate redraws the running step ten times a second.
func (t *table) animate() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
			t.mu.Lock()
			if e := t.running; e != nil {
				t.draw(clearLine + t.fit(plain(t.line(e.Step, e.Detail, time.Since(e.At)))))
			}
			t.mu.Unlock()
		}
	}
}

// draw writes text that is soon redrawn, and drops it while output is held.
func (t *table) draw(text string) {
	if s, ok := t.out.(*stream); ok {
		s.draw(text)
	}
}

// fit cuts a line to the terminal's width: a wrapped line could not be cleared.
func (t *table) fit(line string) string {
	width, _, err := term.GetSize(int(t.tty.Fd()))
	if runes := []rune(line); err == nil && width > 0 && len(runes) >= width {
		return string(runes[:width-1])
	}
	return line
}

const clearLine = "\r\x1b[K"

func (t *table) clear() {
	if t.tty != nil {
		_, _ = io.WriteString(t.out, clearLine)
	}
}

// event prints an event of the agent.
func (t *table) event(e report.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// plan and status print only their result; other commands print each step.
	steps := t.command != "plan" && t.command != "status"
	switch e.Phase {
	case report.Started:
		running := e
		t.running = &running
	case report.Waiting:
		switch {
		case e.Percent == nil:
		case t.tty != nil:
			e.Detail += " " + progress(*e.Percent)
		default:
			e.Detail += fmt.Sprintf(", %d%%", *e.Percent)
		}
		if t.running != nil {
			t.running.Detail = e.Detail
		}
		if e.Percent != nil && t.tty == nil {
			printEscaped(t.out, "%s\n", t.line(e.Step, e.Detail, e.Took))
		}
	case report.Done, report.Failed:
		t.running = nil
		t.clear()
		if !steps {
			return
		}
		if t.headed != e.Source {
			t.header(e.Source, e.Identity.InstanceID, e.Identity.Zone)
		}
		detail := e.Detail
		if e.Phase == report.Failed {
			detail = "failed"
		}
		printEscaped(t.out, "%s\n", t.line(e.Step, detail, e.Took))
	case report.Noted:
		t.clear()
		if t.command == "status" {
			return // finish prints it below the table
		}
		printEscaped(t.out, "  note: %s\n", e.Detail)
	}
}

func (t *table) header(source, instance, zone string) {
	t.headed = source
	if instance == "" {
		printEscaped(t.out, "%s\n", source)
		return
	}
	printEscaped(t.out, "%s on %s, %s\n", source, instance, zone)
}

func (t *table) line(s report.Step, detail string, took time.Duration) string {
	return fmt.Sprintf("  %-10s %-50s %9s", s, detail, span(took))
}

// finish prints the result.
func (t *table) finish(r report.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range r.Sources {
		switch t.command {
		case "plan":
			t.finishPlan(s)
		case "status":
			t.finishStatus(s)
			for _, note := range s.Notes {
				printEscaped(t.out, "  note: %s\n", note)
			}
		case "snapshot":
			t.finishSnapshot(s)
		default:
			t.finishUp(s)
		}
	}
}

func (t *table) finishUp(s *report.Source) {
	switch {
	case s.Error != nil:
	case t.command == "down":
		printEscaped(t.out, "Source is down: %s\n", span(s.Took))
	case s.Changed:
		printEscaped(t.out, "Source is ready: %s, of which EC2 %s\n", span(s.Took), span(s.EC2))
	default:
		t.header(s.Source, s.Instance, s.Zone)
		printEscaped(t.out, "Source is ready: %s at %s, nothing to do\n", s.Volume, s.Mountpoint())
	}
}

func (t *table) finishPlan(s *report.Source) {
	t.header(s.Source, s.Instance, s.Zone)
	for _, a := range s.Actions {
		printEscaped(t.out, "  %-10s %s\n", a.Step, a.What)
	}
	if s.Error == nil && len(s.Actions) == 0 {
		printEscaped(t.out, "Source is ready: %s at %s, nothing to do\n", s.Volume, s.Mountpoint())
	}
}

func (t *table) finishStatus(s *report.Source) {
	t.header(s.Source, s.Instance, s.Zone)
	row := func(name, value string) {
		if value != "" {
			printEscaped(t.out, "  %-10s %s\n", name, value)
		}
	}
	state := string(s.State)
	if s.Ready != nil && s.State == report.StateReady {
		state += " since " + date(*s.Ready)
	}
	row("state", state)
	row("release", releaseOf(s))
	switch {
	case s.Newer != nil:
		row("newer", strings.Join(nonEmpty(s.Newer.Snapshot+", "+s.Newer.State, date(s.Newer.Start), revisionOf(s.Newer.Revision)), ", "))
	case s.Compared:
		row("newer", "none")
	}
	row("volume", strings.Join(nonEmpty(s.Volume, s.VolumeState), ", "))
	if s.Node != "" {
		row("device", strings.Join(nonEmpty(s.Device, "here "+s.Node), ", "))
	} else {
		row("device", s.Device)
	}
	for _, p := range s.Paths {
		name, what := "mount", p.Path
		if p.Root != "/" {
			name, what = "bind", strings.TrimPrefix(p.Root, "/")+" at "+p.Path
		}
		if p.Mounted {
			what += ", " + strings.Join(p.Options, ",")
		}
		if p.Detail != "" {
			what += ": " + p.Detail
		}
		row(name, what)
	}
}

// releaseOf describes the release on a source's volume.
func releaseOf(s *report.Source) string {
	switch {
	case s.Volume == "":
		return ""
	case s.Snapshot == "":
		return strings.Join(nonEmpty("none, it began blank", revisionOf(s.Revision)), ", ")
	case s.Start == nil:
		return strings.Join(nonEmpty(s.Snapshot, revisionOf(s.Revision)), ", ")
	}
	return strings.Join(nonEmpty(s.Snapshot, age(time.Since(*s.Start))+" old", revisionOf(s.Revision)), ", ")
}

// revisionOf formats a revision for people, "" for none.
func revisionOf(revision string) string {
	if revision == "" {
		return ""
	}
	return "revision " + revision[:min(len(revision), 12)]
}

// date formats a time for people.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// nonEmpty returns the texts that are not empty.
func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

// span formats a duration for people: "12 ms", "1.61 s", "2 min 5 s".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}
