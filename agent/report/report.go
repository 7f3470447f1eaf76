package report

import (
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/record"
)

// State of a source on this instance.
type State string

// The states.
const (
	StateReady      State = "ready"      // mounted and bound, as wanted
	StateIncomplete State = "incomplete" // there is a volume or a mount, but the source is not ready
	StateAbsent     State = "absent"     // no volume, and nothing is mounted
	StateUnknown    State = "unknown"    // AWS could not be asked
)

// Report is the outcome for all sources of a run.
type Report struct {
	Sources []*Source `json:"sources"`
}

// Source is the outcome for one source. docs/output.schema.json describes its JSON: a list is
// never null.
type Source struct {
	Source      string         `json:"source"`
	State       State          `json:"state"`
	Changed     bool           `json:"changed"`
	Instance    string         `json:"instance,omitempty"`
	Region      string         `json:"region,omitempty"`
	Zone        string         `json:"zone,omitempty"`
	Volume      string         `json:"volume,omitempty"`
	VolumeState string         `json:"volume_state,omitempty"`   // by status, if it asked EC2
	Snapshot    string         `json:"snapshot,omitempty"`       // of the release; "" for a volume that began blank
	Start       *time.Time     `json:"snapshot_start,omitempty"` // that of its original, if it is a copy; if known
	CopyOf      *record.CopyOf `json:"copy_of,omitempty"`
	Revision    string         `json:"revision,omitempty"` // of the release in the Source, if known
	Newer       *Release       `json:"newer,omitempty"`    // the newest release, if it is newer than the volume's
	Compared    bool           `json:"compared,omitempty"` // with the newest release: without Newer there is none
	Device      string         `json:"device,omitempty"`   // EC2's device name
	Node        string         `json:"node,omitempty"`     // the kernel's device node
	Paths       []Path         `json:"paths"`              // the mountpoint and the bind targets, as far as observed
	Ready       *time.Time     `json:"ready,omitempty"`
	Began       time.Time      `json:"began"`
	Took        time.Duration  `json:"took_ns"`
	EC2         time.Duration  `json:"ec2_ns"`          // of it, waiting for EC2
	Own         time.Duration  `json:"own_ns"`          // of it, neither EC2 nor the kernel: see [Report.AddCalls]
	Taken       *Taken         `json:"taken,omitempty"` // the snapshot that this run took
	Warm        *Warming       `json:"warm,omitempty"`  // how far the volume's blocks have been read, if any were
	Steps       []FinishedStep `json:"steps"`
	Calls       []Call         `json:"calls"`
	Waits       []Wait         `json:"waits"`
	Actions     []Action       `json:"actions"` // of a plan
	Notes       []string       `json:"notes"`
	Error       *Problem       `json:"error"`
}

// Problem is an error for machines.
type Problem struct {
	Code    string `json:"code"` // see [failure.Kind]
	Exit    int    `json:"exit"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// ProblemOf returns an error for machines; nil for nil.
func ProblemOf(err error) *Problem {
	if err == nil {
		return nil
	}
	return &Problem{failure.Kind(err), failure.ExitCode(err), failure.Line(err), failure.Hint(err)}
}

// Mountpoint returns the path of the file system, "" if none was observed.
func (s *Source) Mountpoint() string {
	for _, p := range s.Paths {
		if p.Root == "/" {
			return p.Path
		}
	}
	return ""
}

// Path is a mountpoint or bind target, and what the kernel shows there.
type Path struct {
	Path    string   `json:"path"`
	Root    string   `json:"root"`    // the wanted directory of the file system: "/", or that of a bind
	Mounted bool     `json:"mounted"` // and it is that directory
	Options []string `json:"options"`
	Detail  string   `json:"detail,omitempty"` // what differs from the settings
}

// Release is a snapshot that launches use.
type Release struct {
	Snapshot string    `json:"snapshot"`
	State    string    `json:"state"`
	Start    time.Time `json:"start"`
	Revision string    `json:"revision,omitempty"`
}

// FinishedStep is a step that has ended.
type FinishedStep struct {
	Step    Step          `json:"step"`
	Detail  string        `json:"detail"`
	Start   time.Duration `json:"start_ns"` // since the run began
	Took    time.Duration `json:"took_ns"`
	Failure string        `json:"error,omitempty"`
}

// Action is one thing that up would do, in a plan.
type Action struct {
	Step Step   `json:"step"`
	What string `json:"what"`
}

// Taken is a snapshot that was taken.
type Taken struct {
	Snapshot    string        `json:"snapshot"`
	State       string        `json:"state"`
	Start       time.Time     `json:"start"`
	SizeGiB     int32         `json:"size_gib"`
	Description string        `json:"description,omitempty"`
	Revision    string        `json:"revision,omitempty"`
	Run         string        `json:"run"`
	Candidate   bool          `json:"candidate"`
	Pause       time.Duration `json:"pause_ns"` // how long writers were blocked
	Hot         *Hot          `json:"hot,omitempty"`
}

// Hot is the hot set that was recorded in a snapshot.
type Hot struct {
	Files    int           `json:"files"`
	Bytes    int64         `json:"bytes"`    // of the files, in the page cache
	Complete bool          `json:"complete"` // all files were looked at
	ByHand   int           `json:"by_hand"`  // files from a record that was made by hand
	Took     time.Duration `json:"took_ns"`
}

// FromRecord fills in the record of an earlier run.
func (s *Source) FromRecord(r record.Record) {
	s.Instance, s.Region, s.Zone = r.Instance, r.Region, r.Zone
	s.Volume, s.Snapshot, s.Device, s.Node = r.Volume, r.Snapshot, r.Device, r.Node
	s.Start, s.CopyOf, s.Revision = r.Taken, r.CopyOf, r.Revision
	s.Ready = nil
	if !r.Ready.IsZero() {
		s.Ready = &r.Ready
	}
}

// Instance returns the instance's id, "" if unknown.
func (r Report) Instance() string {
	for _, s := range r.Sources {
		if s.Instance != "" {
			return s.Instance
		}
	}
	return ""
}

// Note adds a note about the whole run.
func (r Report) Note(events func(Event), text string) {
	r.Sources[0].Notes = append(r.Sources[0].Notes, text)
	events(Event{Phase: Noted, Detail: text, At: time.Now()})
}
