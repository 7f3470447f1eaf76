package report

import (
	"time"

	"snapsource/ec2ops"
)

// Phase is the phase of a step.
type Phase string

// The phases. A step is Started, may be Waiting several times, and ends as Done or Failed.
// Noted is for a note, which belongs to no step.
const (
	Started Phase = "started"
	Waiting Phase = "waiting"
	Done    Phase = "done"
	Failed  Phase = "failed"
	Noted   Phase = "noted"
)

// Event reports progress of a run.
type Event struct {
	Source   string
	Step     Step
	Phase    Phase
	Detail   string // the result, or the reason for waiting
	Percent  *int   // completed, if known
	At       time.Time
	Took     time.Duration   // of a step that has ended
	Identity ec2ops.Identity // from the end of Identify on
	Err      error           // with Failed
	Volume   string          // of a step that has ended: as far as it is known
	Snapshot string          // the same, of the release
}
