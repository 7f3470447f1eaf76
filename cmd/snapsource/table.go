package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// table prints progress for people: one line per step as it ends, and on a terminal the
// running step with its elapsed time. Lines begin in lower case and end without a period.
type table struct {
	out     io.Writer
	command string   // "up", "plan", …
	several bool     // sources
	show    showing  // what of it is printed
	tty     *os.File // on which the running step is drawn; nil: on none

	mu       sync.Mutex
	headed   string // the source whose header is printed
	identity ec2ops.Identity
	running  *report.Event
	stop     chan struct{}
	stopped  sync.WaitGroup
}

// showing is what a table prints.
type showing int

const (
	showAll     showing = iota
	showNotes           // for a command whose result is printed elsewhere
	showNothing         // but errors
)

func newTable(out io.Writer, command string) *table {
	t := &table{out: out, command: command, stop: make(chan struct{})}
	if os.Getenv("TERM") != "dumb" { // which has no control sequences (terminfo(5))
		t.tty = terminal(out)
	}
	if t.tty != nil {
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
			if e := t.running; e != nil && t.show == showAll {
				t.draw(clearLine + runningLine(*e, time.Since(e.At), terminalWidth(t.out)))
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
	if e.Identity.InstanceID != "" {
		t.identity = e.Identity
	}
	switch e.Phase {
	case report.Started:
		running := e
		t.running = &running
	case report.Waiting:
		t.waiting(e)
	case report.Done, report.Failed:
		t.running = nil
		if t.show != showAll {
			return
		}
		t.clear()
		if t.printsSteps() {
			t.head(e.Source)
			t.step(e)
		}
	case report.Noted:
		if t.command != "status" { // finish prints it below the table
			t.note(e)
		}
	}
}

// printsSteps reports whether steps are printed: plan and status print only their result.
func (t *table) printsSteps() bool { return t.command != "plan" && t.command != "status" }

// waiting notes what the running step waits for. Where it is not drawn, progress in percent is
// printed.
func (t *table) waiting(e report.Event) {
	switch {
	case e.Percent == nil:
	case t.tty != nil:
		e.Detail = progress(*e.Percent) + " " + e.Detail
	default:
		e.Detail += fmt.Sprintf(", %d%%", *e.Percent)
	}
	if t.running != nil {
		t.running.Detail = e.Detail
	}
	if e.Percent != nil && t.tty == nil && t.show == showAll {
		t.head(e.Source)
		t.step(e)
	}
}

// note prints a note. Each source's are below its header, or name it.
func (t *table) note(e report.Event) {
	if t.show == showNothing {
		return
	}
	t.clear()
	detail := e.Detail
	switch {
	case e.Source == "":
	case t.show == showAll && t.printsSteps():
		t.head(e.Source)
	case t.several:
		detail = e.Source + ": " + detail
	}
	printEscaped(t.out, "  note: %s\n", detail)
}

// step prints a step that has ended.
func (t *table) step(e report.Event) {
	detail := e.Detail
	switch {
	case e.Phase != report.Failed:
	case errors.As(e.Err, new(stopped)):
		detail = "interrupted"
	default:
		detail = "failed"
	}
	for _, line := range stepLines(e.Step, plain(detail), e.Took, terminalWidth(t.out)) {
		printEscaped(t.out, "%s\n", line)
	}
}

// head prints the header of a source above its lines.
func (t *table) head(source string) {
	if source != t.headed {
		t.header(source, t.identity.InstanceID, t.identity.Zone)
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

// finish prints the result.
func (t *table) finish(r report.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.show != showAll {
		return
	}
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

// subject is the source as the subject of a line.
func (t *table) subject(s *report.Source) string {
	if t.several {
		return "Source " + s.Source
	}
	return "Source"
}

func (t *table) finishUp(s *report.Source) {
	switch {
	case s.Error != nil:
	case t.command == "down":
		printEscaped(t.out, "%s is down: %s\n", t.subject(s), span(s.Took))
	case s.Changed:
		printEscaped(t.out, "%s is ready: %s, of which EC2 %s\n", t.subject(s), span(s.Took), span(s.EC2))
		if t.command == "init" && s.Snapshot == "" {
			t.next(s)
		}
	default:
		t.nothingToDo(s)
	}
}

// next prints what to do with a Source that is still empty.
func (t *table) next(s *report.Source) {
	into, named := s.Mountpoint(), ""
	if len(s.Paths) > 1 {
		into = s.Paths[1].Path
	}
	if s.Source != config.DefaultSource().Name {
		named = " --source " + s.Source
	}
	printEscaped(t.out, "next: write the first release into %s, then snapsource snapshot --wait%s\n", into, named)
}

func (t *table) nothingToDo(s *report.Source) {
	t.header(s.Source, s.Instance, s.Zone)
	printEscaped(t.out, "%s is ready: %s at %s, nothing to do\n", t.subject(s), s.Volume, s.Mountpoint())
}

func (t *table) finishPlan(s *report.Source) {
	if s.Error == nil && len(s.Actions) == 0 {
		t.nothingToDo(s)
		return
	}
	t.header(s.Source, s.Instance, s.Zone)
	for _, a := range s.Actions {
		printEscaped(t.out, "  %-10s %s\n", a.Step, a.What)
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
		state += " since " + utc(*s.Ready)
	}
	row("state", state)
	row("release", releaseOf(s))
	switch {
	case s.Newer != nil:
		row("newer", strings.Join(nonEmpty(s.Newer.Snapshot+", "+s.Newer.State, utc(s.Newer.Start), revisionOf(s.Newer.Revision)), ", "))
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

// utc formats a time for people.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// nonEmpty returns the texts that are not empty.
func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}
