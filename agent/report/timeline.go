package report

import (
	"cmp"
	"errors"
	"sort"
	"time"

	"snapsource/ec2ops"
)

// Call is a call to AWS in a [Source].
type Call struct {
	Service  string        `json:"service"` // ec2, autoscaling, or metadata, which is on the instance
	Action   string        `json:"action"`
	Start    time.Duration `json:"start_ns"` // since the run began
	Took     time.Duration `json:"took_ns"`
	Attempts int           `json:"attempts"` // requests sent, including retries and further pages
	Result   string        `json:"result"`   // "ok", or AWS's error code
}

// What a run waits on; see [Wait].
const (
	OnEC2    = "EC2"    // a pause before the next poll or retry
	OnKernel = "kernel" // a device, a file system
	OnCalls  = "calls"  // of its own, made in the background
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

// ownTime returns how much of a run's duration is covered by none of the spans.
func ownTime(took time.Duration, spans []span) time.Duration {
	sort.SliceStable(spans, func(i, j int) bool { return cmp.Compare(spans[i].from, spans[j].from) < 0 })
	rest, at := took, time.Duration(0) // everything before at is counted
	for _, s := range spans {
		from, to := max(s.from, at), min(s.to, took)
		if to > from {
			rest -= to - from
			at = to
		}
	}
	return rest
}

// AddCalls adds each call to the report of the source that it was made for, one for all sources to
// each report, and sets Own:
// the time in which the run waited for nobody. It excludes calls to AWS, from the first
// request to the last response; pauses before the next poll or retry; and waits for the
// kernel.
func (r Report) AddCalls(calls []ec2ops.Call) {
	for _, s := range r.Sources {
		var others []span
		for _, c := range calls {
			start := c.Start.Sub(s.Began)
			if start < 0 || start >= s.Took || c.Source != "" && c.Source != s.Source {
				continue
			}
			s.Calls = append(s.Calls, Call{
				Service: c.Service, Action: c.Action, Start: start, Took: c.Took, Attempts: c.Attempts, Result: result(c.Err),
			})
			if c.Attempts > 0 {
				others = append(others, span{c.Sent.Sub(s.Began), c.Answered.Sub(s.Began)})
			}
		}
		sort.SliceStable(s.Calls, func(i, j int) bool { return cmp.Compare(s.Calls[i].Start, s.Calls[j].Start) < 0 })
		sort.SliceStable(s.Waits, func(i, j int) bool { return cmp.Compare(s.Waits[i].Start, s.Waits[j].Start) < 0 })
		for _, w := range s.Waits {
			if w.On != OnCalls { // the calls themselves are counted above
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
