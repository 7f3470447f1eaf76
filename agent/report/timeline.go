package report

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"snapsource/ec2ops"
)

// Call is a call to AWS in a [Source].
type Call struct {
	Service  string        `json:"service"` // ec2, autoscaling, or metadata, which is on the instance
	Action   string        `json:"action"`
	Start    time.Duration `json:"start_ns"` // since the run began
	Took     time.Duration `json:"took_ns"`
	Attempts int           `json:"attempts"` // requests that were sent: retries, and further pages
	Result   string        `json:"result"`   // "ok", or AWS's error code
}

// What a run waits on; see [Wait].
const (
	OnEC2    = "EC2"    // it lets time pass before it asks again
	OnKernel = "kernel" // a device, a file system
	OnCalls  = "calls"  // of its own, which go on beside the steps
)

// Wait is a wait in a [Source].
type Wait struct {
	On    string        `json:"on"`
	For   string        `json:"for"`
	Start time.Duration `json:"start_ns"` // since the run began
	Took  time.Duration `json:"took_ns"`
}

// span is a part of a run's time.
type span struct{ from, to time.Duration }

// own is how much of a run that took so long was neither in one of the spans nor in
// several of them: what it has spent on itself.
func ownTime(took time.Duration, spans []span) time.Duration {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	rest, at := took, time.Duration(0) // until at all is counted
	for _, s := range spans {
		from, to := max(s.from, at), min(s.to, took)
		if to > from {
			rest -= to - from
			at = to
		}
	}
	return rest
}

// AddCalls puts the calls into the report of the source in whose time they began, and
// says how much of that time the run has spent on itself: what is left when nothing is
// under way that others do. That is, a request that AWS has not answered, with the
// retries and pages of its call; a pause before EC2 is asked again; and what the kernel
// does.
func (r Report) AddCalls(calls []ec2ops.Call) {
	for _, s := range r.Sources {
		var others []span
		for _, c := range calls {
			start := c.Start.Sub(s.Began)
			if start < 0 || start >= s.Took {
				continue
			}
			s.Calls = append(s.Calls, Call{
				Service: c.Service, Action: c.Action, Start: start, Took: c.Took, Attempts: c.Attempts, Result: result(c.Err),
			})
			if c.Attempts > 0 {
				others = append(others, span{c.Sent.Sub(s.Began), c.Answered.Sub(s.Began)})
			}
		}
		slices.SortStableFunc(s.Calls, func(a, b Call) int { return cmp.Compare(a.Start, b.Start) })
		slices.SortStableFunc(s.Waits, func(a, b Wait) int { return cmp.Compare(a.Start, b.Start) })
		for _, w := range s.Waits {
			if w.On != OnCalls { // those are there themselves
				others = append(others, span{w.Start, w.Start + w.Took})
			}
		}
		s.Own = ownTime(s.Took, others)
	}
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	if api, ok := errors.AsType[*ec2ops.APIError](err); ok && api.Code != "" {
		return api.Code
	}
	return "error"
}
