package report

import (
	"time"

	"snapsource/agent/record"
)

// Warming is how far the blocks of a volume have been read; see package warm.
type Warming struct {
	State   string        `json:"state"` // WarmingRuns, …
	Mode    string        `json:"mode"`  // what is to be read: "hot" or "all"
	Hot     Amount        `json:"hot"`   // of the hot set
	Used    Amount        `json:"used"`  // of what else is in use
	Rate    int64         `json:"bytes_per_second"`
	Failed  int64         `json:"failed_reads"`
	Error   string        `json:"error,omitempty"`          // of the last read that failed, or of the run
	First   time.Duration `json:"first_read_ns,omitempty"`  // median of first reads of a block, once all is read
	Second  time.Duration `json:"second_read_ns,omitempty"` // and of second reads
	Began   time.Time     `json:"began"`
	Updated time.Time     `json:"updated"`
	Ended   time.Time     `json:"ended,omitzero"`
}

// Amount is how many bytes of how many are read. The total is 0 while it is unknown.
type Amount struct {
	record.Amount
	Percent int `json:"percent"`
}

// Values of Warming.State.
const (
	WarmingRuns  = "running"
	WarmingDone  = "done"
	WarmingEnded = "stopped" // before all was read
)

// WarmingOf returns what a record says; runs reports whether a process reads the volume.
func WarmingOf(w record.Warming, runs bool) *Warming {
	state := WarmingDone
	switch {
	case runs:
		state = WarmingRuns
	case w.Ended.IsZero():
		state = WarmingEnded
	}
	return &Warming{
		State: state, Mode: w.Mode, Hot: Amount{w.Hot, w.Hot.Percent()}, Used: Amount{w.Used, w.Used.Percent()},
		Rate: int64(w.Rate), Failed: w.Failed, Error: w.Error, First: w.Before, Second: w.After,
		Began: w.Began, Updated: w.Updated, Ended: w.Ended,
	}
}
