package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

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
	pending  []report.Event // notes that wait for the header of their source
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
		t.note(e)
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

// note prints a note. Each source's are below its header, or name it. One that precedes the
// instance's identity waits for the header.
func (t *table) note(e report.Event) {
	if t.show == showNothing {
		return
	}
	t.clear()
	detail := e.Detail
	switch {
	case t.show == showAll && !t.printsSteps():
		return // finish prints it with the result
	case e.Source == "":
	case t.show == showAll:
		if t.identity.InstanceID == "" {
			t.pending = append(t.pending, e)
			return
		}
		t.head(e.Source)
	case t.several:
		detail = e.Source + ": " + detail
	}
	t.printNote(detail)
}

func (t *table) printNote(text string) { printEscaped(t.out, "  note: %s\n", text) }

// printPending prints the notes that wait for the header of a source, which is printed.
func (t *table) printPending(source string) {
	t.pending = slices.DeleteFunc(t.pending, func(e report.Event) bool {
		if e.Source == source {
			t.printNote(e.Detail)
		}
		return e.Source == source
	})
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
		printUnwrapped(t.out, "%s\n", line)
	}
}

// head prints the header of a source above its lines.
func (t *table) head(source string) {
	if source != t.headed {
		t.header(source, t.identity.InstanceID, t.identity.Zone)
		t.printPending(source)
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
