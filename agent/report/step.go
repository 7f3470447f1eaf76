package report

import (
	"context"
	"snapsource/agent/failure"
	"time"
)

// Step is the name of a step of a command.
type Step string

// The steps of a boot, in their order.
const (
	Identify Step = "identify" // who am I
	Survey   Step = "survey"   // what exists
	Choose   Step = "choose"   // the newest snapshot, or the volume of an earlier run
	Create   Step = "create"   // the volume
	Attach   Step = "attach"   // until EC2 and the kernel both show it
	Inspect  Step = "inspect"  // what is on the device
	Mount    Step = "mount"    // the file system and the binds
	Announce Step = "announce" // that the Source is there
)

// The steps that take a volume down.
const (
	Withdraw Step = "withdraw" // the roles, so that no further deployment comes
	Unmount  Step = "unmount"  // the binds, then the file system
	Detach   Step = "detach"   // the volume
	Delete   Step = "delete"   // the volume; for a snapshot, old ones
)

// The steps of a snapshot, beside Identify, Survey and Create.
const (
	Flush    Step = "flush"  // dirty pages, while others write
	Freeze   Step = "freeze" // from here on nobody can write
	Thaw     Step = "thaw"   // from here on everybody can
	Lookup   Step = "lookup" // whether there is a snapshot, after a lost answer
	Complete Step = "wait"   // until EC2 has completed it
)

// Running is a step that is under way.
type Running struct {
	// Detail is what the step found or did, for people.
	Detail string

	run   *Run
	name  Step
	start time.Time
	ended bool // guarded by run.events
}

// Begin starts a step; the caller defers its End.
func (r *Run) Begin(name Step) *Running {
	s := &Running{run: r, name: name, start: time.Now()}
	r.emit(Event{Step: name, Phase: Started, At: s.start})
	return s
}

// Waiting tells what the step waits for. It does nothing once the step is over: calls of
// the step may go on in the background.
func (s *Running) Waiting(reason string) {
	s.progress(Event{Detail: reason})
}

// Progress is [Running.Waiting] for something of which a part is done, in percent.
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

// Pause is [Run.Pause], for who has the step only.
func (s *Running) Pause(ctx context.Context, d time.Duration, what string) error {
	return s.run.Pause(ctx, d, what)
}

// Note is [Run.Note], for who has the step only.
func (s *Running) Note(text string) { s.run.Note(text) }

// End finishes the step with the error that *err holds by then, and makes that a
// [StepError].
func (s *Running) End(err *error) {
	took := time.Since(s.start)
	finished := FinishedStep{Step: s.name, Detail: s.Detail, Start: s.start.Sub(s.run.start), Took: took}
	e := Event{Step: s.name, Phase: Done, Detail: s.Detail, At: time.Now(), Took: took, Identity: s.run.Self}
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

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }
