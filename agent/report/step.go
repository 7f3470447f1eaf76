package report

import (
	"context"
	"time"

	"snapsource/agent/failure"
)

// Step is the name of a step of a command.
type Step string

// The steps of a boot, in order.
const (
	Identify Step = "identify" // who am I
	Survey   Step = "survey"   // what exists
	Choose   Step = "choose"   // the newest snapshot, or the volume of an earlier run
	Create   Step = "create"   // the volume
	Attach   Step = "attach"   // until EC2 and the kernel both show it
	Inspect  Step = "inspect"  // what is on the device
	Mount    Step = "mount"    // the file system and the binds
	Announce Step = "announce" // the roles, the launch hook, the record
)

// The steps that take a volume down.
const (
	Withdraw Step = "withdraw" // the roles, so that no deployment finds the instance
	Unmount  Step = "unmount"  // the binds, then the file system
	Detach   Step = "detach"   // the volume
	Delete   Step = "delete"   // the volume; for a snapshot, old ones
)

// The steps that read a volume whose blocks EBS has yet to load.
const (
	ReadHot  Step = "read hot" // the hot set
	ReadUsed Step = "read"     // what else the file system uses
)

// The steps of a snapshot, besides Identify, Survey and Create.
const (
	HotSet   Step = "hot"    // what is in use, recorded in the file system
	Flush    Step = "flush"  // dirty pages, while writers continue
	Freeze   Step = "freeze" // writers block from here on
	Thaw     Step = "thaw"   // writers continue
	Lookup   Step = "lookup" // whether there is a snapshot, after a lost response
	Complete Step = "wait"   // until EC2 has completed it
	Publish  Step = "publish"
)

// Running is a step that is under way.
type Running struct {
	// Detail is what the step found or did, for people.
	Detail string

	run   *Run
	name  Step
	start time.Time
	ended bool // guarded by run.emitMu
}

// Begin starts a step; the caller defers its End.
func (r *Run) Begin(name Step) *Running {
	s := &Running{run: r, name: name, start: time.Now()}
	r.emit(Event{Step: name, Phase: Started, At: s.start})
	return s
}

// Took returns how long the step has taken so far.
func (s *Running) Took() time.Duration { return time.Since(s.start) }

// Waiting reports what the step waits for. It does nothing after the step has ended: calls of
// the step may continue in the background.
func (s *Running) Waiting(reason string) {
	s.progress(Event{Detail: reason})
}

// Progress is [Running.Waiting] with the progress in percent.
func (s *Running) Progress(reason string, percent int) {
	s.progress(Event{Detail: reason, Percent: &percent})
}

func (s *Running) progress(e Event) {
	s.run.emitMu.Lock()
	defer s.run.emitMu.Unlock()
	if s.ended {
		return
	}
	e.Step, e.Phase, e.At, e.Took = s.name, Waiting, time.Now(), time.Since(s.start)
	s.run.emitLocked(e)
}

// Pause is [Run.Pause] for callers that have only the step.
func (s *Running) Pause(ctx context.Context, d time.Duration, what string) error {
	return s.run.Pause(ctx, d, what)
}

// Note is [Run.Note] for callers that have only the step.
func (s *Running) Note(text string) { s.run.Note(text) }

// End ends the step. If *err is not nil, the step failed, and End wraps *err in a [StepError].
func (s *Running) End(err *error) {
	took := time.Since(s.start)
	finished := FinishedStep{Step: s.name, Detail: s.Detail, Start: s.start.Sub(s.run.start), Took: took}
	e := Event{Step: s.name, Phase: Done, Detail: s.Detail, At: time.Now(), Took: took, Identity: s.run.Self}
	e.Volume, e.Snapshot = s.run.Report.Volume, s.run.Report.Snapshot
	if *err != nil {
		*err = &StepError{Source: s.run.Report.Source, Step: s.name, Err: *err}
		e.Phase, e.Err = Failed, *err
		finished.Failure = failure.Line(*err)
	}
	s.run.Report.Steps = append(s.run.Report.Steps, finished)
	s.run.emitMu.Lock()
	defer s.run.emitMu.Unlock()
	s.ended = true
	s.run.emitLocked(e)
}

// StepError is the failure of a step.
type StepError struct {
	Source string
	Step   Step
	Err    error
}

func (e *StepError) Error() string { return e.Source + ": " + string(e.Step) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }
