package report

import (
	"time"

	"snapsource/ec2ops"
)

// Phase of a step.
type Phase string

// The phases. A step that has Started may be Waiting several times and ends as Done or
// Failed. Noted is a remark of the run that belongs to no step.
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
