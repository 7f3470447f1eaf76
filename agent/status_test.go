package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// ready is a world in which up has finished.
func ready(t *testing.T) *world {
	t.Helper()
	w := withRelease()
	w.cloud.snapshots[0].Tags[ec2ops.TagRevision] = "1a2b3c"
	if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	return w
}

var errUnavailable = fmt.Errorf("%w: 503", ec2ops.ErrTemporary)

// unavailable makes all of EC2's calls fail.
func unavailable(w *world) { w.cloud.fail = func(string) error { return errUnavailable } }

const theBind = "/home/deploy/codepen"

var statusTests = map[string]struct {
	ready   bool // up has run
	change  func(*world)
	options StatusOptions
	state   report.State
	code    int
	says    string // in the error or a note
	noCalls bool
}{
	"before up":                       {false, nil, StatusOptions{}, report.StateAbsent, failure.ExitNotReady, "/cp: not mounted", false},
	"before up, locally":              {false, nil, StatusOptions{Local: true}, report.StateAbsent, failure.ExitNotReady, "/cp: not mounted", true},
	"before up, EC2 fails":            {false, unavailable, StatusOptions{}, report.StateUnknown, failure.ExitUnknown, "503", false},
	"ready":                           {true, nil, StatusOptions{}, report.StateReady, 0, "", true},
	"ready, EC2 fails":                {true, unavailable, StatusOptions{}, report.StateReady, 0, "", true},
	"ready, remote":                   {true, nil, StatusOptions{Remote: true}, report.StateReady, 0, "", false},
	"ready, remote fails":             {true, unavailable, StatusOptions{Remote: true}, report.StateReady, failure.ExitUnknown, "newer release is not known", false},
	"a bind is missing":               {true, func(w *world) { delete(w.host.mounts, theBind) }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, theBind + ": not mounted", false},
	"a bind is missing, EC2 fails":    {true, func(w *world) { delete(w.host.mounts, theBind); unavailable(w) }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, "could not be asked", false},
	"another mount on top":            {true, func(w *world) { w.host.mounts[theBind] = 99 }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, "mounted there instead", false},
	"another directory is bound":      {true, func(w *world) { w.host.roots[theBind] = "/other" }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, "/other of the file system", false},
	"options differ":                  {true, func(w *world) { w.host.options["/cp"] = "rw,nodev,noatime" }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, "not as configured: it lacks nosuid", false},
	"no record":                       {true, func(w *world) { w.host.records = nil }, StatusOptions{Local: true}, report.StateIncomplete, failure.ExitNotReady, "no run of snapsource up has finished", true},
	"shut down":                       {true, func(w *world) { w.host.shutdown = true }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, "shut down", true},
	"the device has grown":            {true, func(w *world) { w.host.deviceSize = 20 << 30 }, StatusOptions{}, report.StateReady, 0, "has grown from 5 GiB to 20 GiB", true},
	"unmounted, still attached":       {true, func(w *world) { clear(w.host.mounts) }, StatusOptions{Local: true}, report.StateIncomplete, failure.ExitNotReady, "/cp: not mounted", true},
	"an earlier volume, not mounted":  {true, func(w *world) { w.reboot() }, StatusOptions{}, report.StateIncomplete, failure.ExitNotReady, "/cp: not mounted", false},
	"an earlier volume, seen locally": {true, func(w *world) { w.reboot() }, StatusOptions{Local: true}, report.StateAbsent, failure.ExitNotReady, "/cp: not mounted", true},
	"mounted from an unknown device": {false, func(w *world) {
		w.host.mounts["/cp"] = 99
		w.host.mounts[theBind] = 99
		w.host.roots[theBind] = "/codepen"
	}, StatusOptions{Local: true}, report.StateIncomplete, failure.ExitNotReady, "no run", true},
	"a launch that was not announced": {true, func(w *world) {
		r := w.host.records["codepen-app"]
		r.Ready = time.Time{}
		w.host.records["codepen-app"] = r
	}, StatusOptions{Local: true}, report.StateIncomplete, failure.ExitNotReady, "no run", true},
}

// TestStatus: what the kernel shows, in every state, with its exit code; and a call only if the
// kernel's answer is not enough.
func TestStatus(t *testing.T) {
	for name, tc := range statusTests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := withRelease()
				if tc.ready {
					w = ready(t)
				}
				if tc.change != nil {
					tc.change(w)
				}
				result, err := w.agent.Status(t.Context(), config.DefaultConfig(), tc.options)
				s := result.Sources[0]
				text := strings.Join(s.Notes, "\n")
				if err != nil {
					text += err.Error()
				}
				if s.State != tc.state || failure.ExitCode(err) != tc.code || !strings.Contains(text, tc.says) || tc.says == "" && text != "" {
					t.Errorf("state %s, exit code %d, %q; want %s, %d, %q", s.State, failure.ExitCode(err), text, tc.state, tc.code, tc.says)
				}
				if tc.noCalls && len(w.cloud.calls) != 0 {
					t.Errorf("calls %v, want none", w.cloud.calls)
				}
				if tc.code != 0 && failure.Hint(err) == "" {
					t.Error("no advice")
				}
			})
		})
	}
}

// TestStatusFacts: the release, its age and revision, and the newer one.
func TestStatusFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		result, err := w.agent.Status(t.Context(), config.DefaultConfig(), StatusOptions{Remote: true})
		s := result.Sources[0]
		if err != nil || s.Snapshot != "snap-1" || s.Revision != "1a2b3c" || s.Start == nil || !s.Start.Equal(w.cloud.snapshots[0].Start) || !s.Compared || s.Newer != nil {
			t.Errorf("%+v, %v", s, err)
		}
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
		w.host.revision = "4d5e6f" // a deployment has changed the Source in place
		result, err = w.agent.Status(t.Context(), config.DefaultConfig(), StatusOptions{Remote: true})
		s = result.Sources[0]
		if err != nil || s.Revision != "4d5e6f" || s.Newer == nil || s.Newer.Snapshot != "snap-2" {
			t.Errorf("%+v, %v", s, err)
		}
		for _, p := range s.Paths {
			if !p.Mounted || p.Detail != "" || len(p.Options) == 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}
