package report

import (
	"context"
	"fmt"
	"sync"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// Run is one run for one source. It sends the events and builds the report.
type Run struct {
	Report *Source
	Self   ec2ops.Identity // of this instance, once known

	start  time.Time
	events func(Event)
	inEC2  stopwatch

	emitMu  sync.Mutex // held while events is called
	waitsMu sync.Mutex // guards Report.Waits
}

// Each calls do for one source after the other, and collects reports and errors. If a source
// fails, it continues with the next one; see [failure.Branches]. events is never called
// concurrently.
func Each(sources []config.Source, events func(Event), do func(*Run, config.Source) error) (Report, error) {
	report := Report{Sources: []*Source{}}
	var errs []error
	for _, src := range sources {
		of, err := runOne(src, events, do)
		if err != nil {
			errs = append(errs, err)
		}
		report.Sources = append(report.Sources, of)
	}
	return report, failure.Several(errs...)
}

// runOne is the run for one source.
func runOne(src config.Source, events func(Event), do func(*Run, config.Source) error) (*Source, error) {
	r := &Run{start: time.Now(), events: events,
		Report: &Source{Source: src.Name, State: StateUnknown, Began: time.Now(),
			Paths: []Path{}, Steps: []FinishedStep{}, Calls: []Call{}, Waits: []Wait{}, Actions: []Action{}, Notes: []string{}}}
	err := do(r, src)
	if err != nil {
		r.Report.Error = ProblemOf(err)
	}
	r.Report.Took, r.Report.EC2 = time.Since(r.start), r.inEC2.read()
	return r.Report, err
}

// Identified notes which instance the run is on.
func (r *Run) Identified(self ec2ops.Identity) {
	r.Self = self
	r.Report.Instance, r.Report.Region, r.Report.Zone = self.InstanceID, self.Region, self.Zone
}

// Note adds a note, which belongs to no step.
func (r *Run) Note(text string) {
	r.Report.Notes = append(r.Report.Notes, text)
	r.emit(Event{Phase: Noted, Detail: text, At: time.Now()})
}

func (r *Run) emit(e Event) {
	r.emitMu.Lock()
	defer r.emitMu.Unlock()
	r.emitLocked(e)
}

// emitLocked is emit for callers that hold emitMu.
func (r *Run) emitLocked(e Event) {
	e.Source = r.Report.Source
	r.events(e)
}

// InEC2 starts counting time spent on EC2; the function it returns stops that. Such times may
// overlap.
func (r *Run) InEC2() (leave func()) { return r.inEC2.enter() }

// Await starts a wait; the function it returns ends it.
func (r *Run) Await(on, what string) (end func()) {
	start := time.Now()
	return func() { r.waited(on, what, start, time.Since(start)) }
}

// Pause waits before the next poll or retry. It returns an error if ctx ends first.
func (r *Run) Pause(ctx context.Context, d time.Duration, what string) error {
	if d <= 0 {
		return ctx.Err()
	}
	defer r.Await(OnEC2, what)()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
	case <-t.C:
		return nil
	}
}

// WithPauses makes the AWS client report its pauses between requests as waits, and its calls as this
// source's.
func (r *Run) WithPauses(ctx context.Context) context.Context {
	return ec2ops.WithPauses(ec2ops.WithSource(ctx, r.Report.Source), func(start time.Time, took time.Duration) { r.waited(OnEC2, "the next poll", start, took) })
}

func (r *Run) waited(on, what string, start time.Time, took time.Duration) {
	r.waitsMu.Lock()
	defer r.waitsMu.Unlock()
	r.Report.Waits = append(r.Report.Waits, Wait{On: on, For: what, Start: start.Sub(r.start), Took: took})
}

// stopwatch sums up the time in which at least one activity is under way.
type stopwatch struct {
	mu      sync.Mutex
	running int
	since   time.Time
	total   time.Duration
}

// enter starts an activity; the function it returns ends it.
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
