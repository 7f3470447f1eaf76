package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	"snapsource/ec2ops"
)

// Step is one of the eight steps of a boot.
type Step string

// The steps in their order.
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

// Phase of a step.
type Phase string

// The phases: a step that has Started may be Waiting several times and ends as
// Done or Failed. Noted is a remark of the run that is not a step's.
const (
	Started Phase = "started"
	Waiting Phase = "waiting"
	Done    Phase = "done"
	Failed  Phase = "failed"
	Noted   Phase = "noted"
)

// Event tells what a run is doing.
type Event struct {
	Source   string
	Step     Step
	Phase    Phase
	Detail   string // what was found or done, or is waited for
	Percent  *int   // of what is waited for, where that is known
	At       time.Time
	Took     time.Duration   // of a step that is over
	Identity ec2ops.Identity // with the end of Identify
	Err      error           // with Failed
}

// StepReport is a finished step in a [SourceReport].
type StepReport struct {
	Step    Step          `json:"step"`
	Detail  string        `json:"detail"`
	Start   time.Duration `json:"start_ns"` // since the run began
	Took    time.Duration `json:"took_ns"`
	Failure string        `json:"error,omitempty"`
}

// step is one running step of a boot.
type step struct {
	b      *boot
	name   Step
	start  time.Time
	detail string
	over   bool // guarded by boot.telling
}

// begin starts a step; the caller defers its end.
func (b *boot) begin(name Step) *step {
	s := &step{b: b, name: name, start: time.Now()}
	b.emit(Event{Step: name, Phase: Started, At: s.start})
	return s
}

// waiting tells what the step waits for. Calls of the step that still go on when it is
// over have nothing to tell.
func (s *step) waiting(reason string) {
	s.b.telling.Lock()
	defer s.b.telling.Unlock()
	if s.over {
		return
	}
	s.b.tell(Event{Step: s.name, Phase: Waiting, Detail: reason, At: time.Now(), Took: time.Since(s.start)})
}

// throttled is a step as an [admission.Waiter].
type throttled struct{ *step }

func (t throttled) Waiting(reason string) { t.waiting(reason) }
func (t throttled) Note(text string)      { t.b.note(strings.Join(strings.Fields(text), " ")) }
func (t throttled) Pause(ctx context.Context, d time.Duration, what string) error {
	return t.b.pause(ctx, d, what)
}

// end finishes the step with the error that *err holds by then.
func (s *step) end(err *error) {
	took := time.Since(s.start)
	report := StepReport{Step: s.name, Detail: s.detail, Start: s.start.Sub(s.b.start), Took: took}
	e := Event{Step: s.name, Phase: Done, Detail: s.detail, At: time.Now(), Took: took, Identity: s.b.self}
	if *err != nil {
		*err = &StepError{Source: s.b.src.Name, Step: s.name, Err: *err}
		e.Phase, e.Err = Failed, *err
		report.Failure = Line(*err)
	}
	s.b.report.Steps = append(s.b.report.Steps, report)
	s.b.telling.Lock()
	defer s.b.telling.Unlock()
	s.over = true
	s.b.tell(e)
}

// note tells a remark that is not a step's.
func (b *boot) note(text string) {
	b.report.Notes = append(b.report.Notes, text)
	b.emit(Event{Phase: Noted, Detail: text, At: time.Now()})
}

func (b *boot) emit(e Event) {
	b.telling.Lock()
	defer b.telling.Unlock()
	b.tell(e)
}

// tell is emit for who has the lock.
func (b *boot) tell(e Event) {
	e.Source = b.src.Name
	b.agent.Events(e)
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

// stopwatch sums the time in which at least one activity of a kind is under way.
type stopwatch struct {
	mu      sync.Mutex
	running int
	since   time.Time
	total   time.Duration
}

// enter begins an activity; the function it returns ends it.
func (w *stopwatch) enter() (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == 0 {
		w.since = time.Now()
	}
	w.running++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running--
		if w.running == 0 {
			w.total += time.Since(w.since)
		}
	}
}

func (w *stopwatch) read() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
