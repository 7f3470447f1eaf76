package agent

import (
	"errors"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// State of a source on this instance.
type State string

// The states.
const (
	StateReady      State = "ready"      // mounted and bound, as wanted
	StateIncomplete State = "incomplete" // a volume is there, but not all that is wanted
	StateAbsent     State = "absent"     // no volume
)

// Report is the outcome for all sources of a run.
type Report struct {
	Sources []*SourceReport `json:"sources"`
}

// SourceReport is the outcome for one source.
type SourceReport struct {
	Source   string        `json:"source"`
	State    State         `json:"state"`
	Changed  bool          `json:"changed"`
	Instance string        `json:"instance,omitempty"`
	Region   string        `json:"region,omitempty"`
	Zone     string        `json:"zone,omitempty"`
	Volume   string        `json:"volume,omitempty"`
	Snapshot string        `json:"snapshot,omitempty"` // "" for a volume that began blank
	Device   string        `json:"device,omitempty"`   // EC2's device name
	Node     string        `json:"node,omitempty"`     // the kernel's
	Mount    string        `json:"mount"`
	Binds    []string      `json:"binds,omitempty"` // the targets
	Ready    *time.Time    `json:"ready,omitempty"`
	Began    time.Time     `json:"began"`
	Took     time.Duration `json:"took_ns"`
	EC2      time.Duration `json:"ec2_ns"`          // of it, waiting for EC2
	Own      time.Duration `json:"own_ns"`          // of it, spent on itself: see [Report.AddCalls]
	Taken    *Taken        `json:"taken,omitempty"` // the snapshot that this run took
	Steps    []StepReport  `json:"steps,omitempty"`
	Calls    []CallReport  `json:"calls,omitempty"`
	Waits    []WaitReport  `json:"waits,omitempty"`
	Actions  []PlanAction  `json:"actions,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	Error    string        `json:"error,omitempty"`
	ExitCode int           `json:"exit_code"`
}

func (r *SourceReport) fromRecord(rec Record) {
	r.Instance, r.Zone = rec.Instance, rec.Zone
	r.Volume, r.Snapshot, r.Device, r.Node = rec.Volume, rec.Snapshot, rec.Device, rec.Node
	r.Ready = &rec.Ready
}

// eachSource runs do for every source, one after the other, and collects reports
// and errors.
func (a *Agent) eachSource(cfg config.Config, do func(*boot) error) (Report, error) {
	var report Report
	var errs []error
	if _, err := a.Host.Mounts(); errors.Is(err, mountfs.ErrUnsupported) {
		return report, err // at once, not after waiting for a metadata service
	}
	for _, src := range cfg.Sources {
		b := &boot{agent: a, cfg: cfg, src: src, start: time.Now(), entrance: &entrance{},
			report: &SourceReport{Source: src.Name, State: StateAbsent, Mount: src.Mount, Began: time.Now()}}
		for _, bind := range src.Binds {
			b.report.Binds = append(b.report.Binds, bind.Target)
		}
		if err := do(b); err != nil {
			errs = append(errs, err)
			b.report.Error, b.report.ExitCode = failure.Line(err), failure.ExitCode(err)
		}
		b.report.Took, b.report.EC2 = time.Since(b.start), b.inEC2.read()
		report.Sources = append(report.Sources, b.report)
	}
	if len(errs) == 1 {
		return report, errs[0]
	}
	return report, errors.Join(errs...)
}

// instance is the id of the instance that the report is about, once it is known.
func (r Report) instance() string {
	for _, s := range r.Sources {
		if s.Instance != "" {
			return s.Instance
		}
	}
	return ""
}

// note tells a remark that is about the whole run.
func (r Report) note(a *Agent, text string) {
	r.Sources[0].Notes = append(r.Sources[0].Notes, text)
	a.Events(Event{Phase: Noted, Detail: text, At: time.Now()})
}

func volumeState(v *ec2ops.Volume) State {
	if v == nil {
		return StateAbsent
	}
	return StateIncomplete
}
