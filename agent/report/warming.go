package report

import "snapsource/agent/record"

// Warming is how far the blocks of a volume have been read; see package warm.
type Warming struct {
	State string `json:"state"` // WarmingRuns, …
	record.Warming
}

// Values of Warming.State.
const (
	WarmingRuns  = "running"
	WarmingDone  = "done"
	WarmingEnded = "stopped" // before all was read
)

// WarmingOf returns a record of it with its state.
func WarmingOf(w record.Warming, runs bool) Warming {
	switch {
	case runs:
		return Warming{WarmingRuns, w}
	case w.Ended.IsZero():
		return Warming{WarmingEnded, w}
	}
	return Warming{WarmingDone, w}
}
