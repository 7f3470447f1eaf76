package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/report"
)

// finish prints the result.
func (t *table) finish(r report.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.show != showAll {
		return
	}
	for _, s := range r.Sources {
		if slices.ContainsFunc(t.pending, func(e report.Event) bool { return e.Source == s.Source }) {
			t.header(s.Source, s.Instance, s.Zone)
			t.printPending(s.Source)
		}
		switch t.command {
		case "plan":
			t.finishPlan(s)
		case "status":
			t.finishStatus(s)
			t.notes(s)
		case "snapshot":
			t.finishSnapshot(s)
		case "warm":
			t.finishWarm(s)
		default:
			t.finishUp(s)
		}
	}
}

// notes prints the notes of a source at the end.
func (t *table) notes(s *report.Source) {
	for _, note := range s.Notes {
		t.printNote(note)
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
	if t.headed != s.Source {
		t.header(s.Source, s.Instance, s.Zone)
	}
	printEscaped(t.out, "%s is ready: %s at %s, nothing to do\n", t.subject(s), s.Volume, s.Mountpoint())
}

func (t *table) finishPlan(s *report.Source) {
	t.header(s.Source, s.Instance, s.Zone)
	t.notes(s)
	if s.Error == nil && len(s.Actions) == 0 {
		t.nothingToDo(s)
		return
	}
	for _, a := range s.Actions {
		t.resultRow(string(a.Step), a.What)
	}
}

// resultRow prints a row of a result: a name and what there is of it.
func (t *table) resultRow(name, value string) {
	printHanging(t.out, fmt.Sprintf("  %-*s ", stepIndent-3, name), value)
}

func (t *table) finishStatus(s *report.Source) {
	t.header(s.Source, s.Instance, s.Zone)
	row := func(name, value string) {
		if value != "" {
			t.resultRow(name, value)
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
	row("warm", warmth(s.Warm))
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
	case s.Snapshot == "" && s.State == report.StateAbsent:
		return ""
	case s.Snapshot == "":
		return strings.Join(nonEmpty("none, it began blank", revisionOf(s.Revision)), ", ")
	case s.Start == nil:
		return strings.Join(nonEmpty(s.Snapshot+s.CopyOf.Note(), revisionOf(s.Revision)), ", ")
	}
	return strings.Join(nonEmpty(s.Snapshot+s.CopyOf.Note(), age(time.Since(*s.Start))+" old", revisionOf(s.Revision)), ", ")
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
