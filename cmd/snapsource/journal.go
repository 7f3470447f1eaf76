package main

import (
	"strconv"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
)

// The entries that a run sends to the journal, besides its output, which the unit sends there. Their ids
// never change: docs/metrics.md has them.
const (
	stepEnded = "f1500be94483441a860eebef49dfacf8"
	runEnded  = "9e6e073fee7a4d6e8b8fc8f213a77e9a"
)

// Priorities of syslog(3).
const (
	priorityError = "3"
	priorityDebug = "7"
)

// journalStep sends a step that has ended. Its priority is low, as the output says the same.
func (p *program) journalStep(command string, e report.Event) {
	result := "done"
	switch e.Phase {
	case report.Done:
	case report.Failed:
		result = "failed"
	default:
		return
	}
	p.journal.Send(
		"MESSAGE", plain(e.Source+": "+string(e.Step)+" "+result+" after "+milliseconds(e.Took)+" ms"),
		"MESSAGE_ID", stepEnded, "PRIORITY", priorityDebug, "SYSLOG_IDENTIFIER", "snapsource",
		"SNAPSOURCE_COMMAND", command, "SNAPSOURCE_SOURCE", e.Source, "SNAPSOURCE_INSTANCE", e.Identity.InstanceID,
		"SNAPSOURCE_STEP", string(e.Step), "SNAPSOURCE_RESULT", result, "SNAPSOURCE_MS", milliseconds(e.Took),
		"SNAPSOURCE_VOLUME", e.Volume, "SNAPSOURCE_SNAPSHOT", e.Snapshot, "SNAPSOURCE_DETAIL", plain(e.Detail),
	)
}

// journalRun sends the outcome of a run for each source.
func (p *program) journalRun(command string, result report.Report) {
	for _, s := range result.Sources {
		message, exit, priority := s.Source+" is "+string(s.State), failure.ExitDone, priorityDebug
		if s.Error != nil {
			message, exit, priority = s.Error.Message, s.Error.Exit, priorityError
		}
		p.journal.Send(
			"MESSAGE", plain(message), "MESSAGE_ID", runEnded, "PRIORITY", priority, "SYSLOG_IDENTIFIER", "snapsource",
			"SNAPSOURCE_COMMAND", command, "SNAPSOURCE_SOURCE", s.Source, "SNAPSOURCE_INSTANCE", s.Instance,
			"SNAPSOURCE_STATE", string(s.State), "SNAPSOURCE_EXIT_CODE", strconv.Itoa(exit),
			"SNAPSOURCE_MS", milliseconds(s.Took), "SNAPSOURCE_EC2_MS", milliseconds(s.EC2),
			"SNAPSOURCE_VOLUME", s.Volume, "SNAPSOURCE_SNAPSHOT", s.Snapshot, "SNAPSOURCE_REVISION", plain(s.Revision),
		)
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
