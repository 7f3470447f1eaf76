package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// TestMistypedHook: plan and up find it before anything is created, no sooner than the table
// of refusals says, and name the hooks that exist.
func TestMistypedHook(t *testing.T) {
	for name, run := range map[string]func(a *Agent, cfg config.Config) (report.Report, error){
		"up":   func(a *Agent, cfg config.Config) (report.Report, error) { return a.Up(context.Background(), cfg) },
		"plan": func(a *Agent, cfg config.Config) (report.Report, error) { return a.Plan(context.Background(), cfg) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w, cfg := inGroup()
			cfg.LifecycleHook = "lanch"
			began := time.Now()
			result, err := run(w.agent, cfg)
			if failure.ExitCode(err) != failure.ExitUsage || !strings.Contains(err.Error(), "web has no launch hook lanch; it has launch") ||
				failure.Hint(err) != "set lifecycle-hook to launch" {
				t.Errorf("%s: %v, to do: %s", name, err, failure.Hint(err))
			}
			if took := time.Since(began); took < ec2ops.NoSuchHook.Within {
				t.Errorf("%s believes it after %s", name, took)
			}
			if n := len(mutating(w.cloud.calls)); n != 0 {
				t.Errorf("%s made the calls %v", name, w.cloud.calls)
			}
			notes := strings.Join(result.Sources[0].Notes, "; ")
			if strings.Contains(notes, "is not abandoned") != (name == "up") {
				t.Errorf("%s: the notes are %q", name, notes)
			}
		})
	}
}

// TestHookNotChecked: without the permission, as with a policy for an earlier version, or
// without any hook, there is a note.
func TestHookNotChecked(t *testing.T) {
	for want, change := range map[string]func(w *world){
		"allow autoscaling:DescribeLifecycleHooks": func(w *world) {
			w.cloud.fail = func(call string) error {
				if call == "DescribeLifecycleHooks" {
					return &ec2ops.APIError{Action: "autoscaling:DescribeLifecycleHooks", Kind: ec2ops.ErrDenied, Err: ec2ops.ErrDenied}
				}
				return nil
			}
		},
		"web has no launch hook, so the instance enters service before its Source is ready": func(w *world) {
			w.cloud.group.hook = ""
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, cfg := inGroup()
			change(w)
			cfg.Timeout = time.Minute
			result, _ := w.agent.Up(t.Context(), cfg)
			if notes := strings.Join(result.Sources[0].Notes, "; "); !strings.Contains(notes, want) {
				t.Errorf("the notes are %q, want %q", notes, want)
			}
		})
	}
}
