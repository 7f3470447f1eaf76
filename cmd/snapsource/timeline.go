package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"snapsource/agent/report"
)

// timelineWidth is the width of the whole run, in characters.
const timelineWidth = 40

// The marks of a timeline's bars.
const (
	stepMark = '█'
	callMark = '▒'
	waitMark = '░'
)

// row is a line of a timeline: all parts of one name.
type row struct {
	name  string
	mark  rune
	parts []part
}

type part struct{ start, took time.Duration }

// timeline draws bars over the time of the run: for each step, and below it for the calls and
// waits that began in it.
func (t *table) timeline(r report.Report) {
	for _, s := range r.Sources {
		if len(s.Steps) == 0 {
			continue
		}
		printEscaped(t.out, "Timeline of %s (%c step, %c call, %c wait)\n", s.Source, stepMark, callMark, waitMark)
		for _, step := range s.Steps {
			t.row("  ", row{string(step.Step), stepMark, []part{{step.Start, step.Took}}}, s.Took)
			for _, below := range rowsBelow(step, s) {
				t.row("    ", below, s.Took)
			}
		}
		printEscaped(t.out, "%s for EC2, %s for itself\n", span(s.EC2), span(s.Own))
	}
}

// rowsBelow returns the rows below a step, in order of start.
func rowsBelow(step report.FinishedStep, s *report.Source) []row {
	var rows []row
	add := func(name string, mark rune, start, took time.Duration) {
		if start < step.Start || start >= step.Start+step.Took {
			return
		}
		for i := range rows {
			if rows[i].name == name {
				rows[i].parts = append(rows[i].parts, part{start, took})
				return
			}
		}
		rows = append(rows, row{name, mark, []part{{start, took}}})
	}
	calls, waits := s.Calls, s.Waits // each in order of start
	for len(calls)+len(waits) > 0 {
		if len(waits) == 0 || len(calls) > 0 && calls[0].Start <= waits[0].Start {
			c := calls[0]
			calls = calls[1:]
			name := c.Action
			if c.Result != "ok" {
				name += ": " + c.Result
			}
			add(name, callMark, c.Start, c.Took)
			continue
		}
		w := waits[0]
		waits = waits[1:]
		add("for "+w.For, waitMark, w.Start, w.Took)
	}
	return rows
}

// nameWidth is the width of a row's name, with its indentation.
const nameWidth = 32

func (t *table) row(indent string, r row, whole time.Duration) {
	name := indent + r.name
	if len(r.parts) > 1 {
		name += fmt.Sprintf(" ×%d", len(r.parts))
	}
	if room := nameWidth - utf8.RuneCountInString(name); room >= 0 {
		name += strings.Repeat(" ", room)
	} else {
		name = string([]rune(name)[:nameWidth-1]) + "…"
	}
	total := time.Duration(0)
	for _, p := range r.parts {
		total += p.took
	}
	printUnwrapped(t.out, "%s %s %9s\n", name, bar(r.mark, r.parts, whole), span(total))
}

// bar draws parts of the whole, each at least one character wide.
func bar(mark rune, parts []part, whole time.Duration) string {
	scale := func(d time.Duration) int {
		return int(float64(d) / float64(max(whole, 1)) * timelineWidth)
	}
	cells := []rune(strings.Repeat(" ", timelineWidth))
	for _, p := range parts {
		from := min(max(scale(p.start), 0), timelineWidth-1)
		to := min(max(scale(p.start+p.took), from+1), timelineWidth)
		for i := from; i < to; i++ {
			cells[i] = mark
		}
	}
	return "│" + string(cells) + "│"
}
