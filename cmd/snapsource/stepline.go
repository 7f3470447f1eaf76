package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"snapsource/agent/report"
)

// The columns of a step's line: its name, the detail, the time.
const (
	stepIndent   = 13 // "  announce   "
	detailMax    = 60 // "snap-0123456789abcdef0, 2026-11-24 02:50 UTC, 65536 GiB" has 55
	timeWidth    = 9
	defaultWidth = stepIndent + detailMax + 1 + timeWidth
	leastDetail  = 8 // of a running step, on the narrowest terminal
)

// stepLines returns the line of a step that has ended. On a terminal of this width, 0 for none,
// a detail that is too long has several lines, with the time at the end of the last one.
func stepLines(s report.Step, detail string, took time.Duration, width int) []string {
	name := fmt.Sprintf("  %-*s ", stepIndent-3, s)
	if width == 0 {
		return []string{fmt.Sprintf("%s%-*s %*s", name, detailMax, detail, timeWidth, span(took))}
	}
	room := min(width-1, defaultWidth) - stepIndent // one less: some terminals wrap after the last column
	lines := wrap(detail, room)
	last := &lines[len(lines)-1]
	if utf8.RuneCountInString(*last)+1+timeWidth > room {
		lines = append(lines, "")
		last = &lines[len(lines)-1]
	}
	*last = fmt.Sprintf("%-*s %*s", max(room-1-timeWidth, 0), *last, timeWidth, span(took))
	for i := range lines {
		lines[i] = name + lines[i]
		name = strings.Repeat(" ", stepIndent)
	}
	return lines
}

// runningLine returns the line of a step that is under way: its name, its time, and as much of
// what it waits for as fits. A wrapped line could not be cleared.
func runningLine(e report.Event, took time.Duration, width int) string {
	if width == 0 {
		width = defaultWidth
	}
	room := max(min(width-1, defaultWidth)-stepIndent-1-timeWidth, leastDetail)
	detail := cut(plain(cmp.Or(e.Detail, doing(e.Step))), room)
	line := fmt.Sprintf("  %-*s %-*s %*s", stepIndent-3, e.Step, room, detail, timeWidth, span(took))
	return cut(line, width-1)
}

// doing says what a step does while it gives no reason for a wait; "" if it never lasts.
func doing(s report.Step) string {
	switch s {
	case report.Identify:
		return "the metadata service is asked"
	case report.Survey:
		return "EC2 and the kernel are asked"
	case report.Choose:
		return "EC2 lists the snapshots"
	case report.Create:
		return "EC2 is called"
	case report.Attach:
		return "the volume is being attached"
	case report.Inspect:
		return "the device is read"
	case report.Announce, report.Withdraw:
		return "the tags are set"
	case report.ReadHot, report.ReadUsed:
		return "the volume is read"
	case report.HotSet:
		return "the page cache is looked through"
	case report.Flush:
		return "dirty data is written"
	case report.Detach:
		return "the volume is being detached"
	case report.Delete:
		return "EC2 deletes"
	case report.Complete:
		return "EC2 completes the snapshot"
	}
	return ""
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
