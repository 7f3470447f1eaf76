package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops"
)

// TestInNoGroup: an instance that was launched by hand is brought up, and told so. Running
// up again costs nothing, and completes the hook once the instance is in a group.
func TestInNoGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := inGroup()
		group := w.cloud.group
		w.cloud.group = fakeGroup{}
		began := time.Now()
		result, err := w.agent.Up(t.Context(), cfg)
		if err != nil || len(result.Sources[0].Notes) != 1 || !strings.Contains(result.Sources[0].Notes[0], "in no Auto Scaling group") {
			t.Fatalf("got %v, notes %v; want a note", err, result.Sources[0].Notes)
		}
		if took := time.Since(began); took < ec2ops.NoGroup.Within {
			t.Errorf("believed it after %s", took)
		}
		w.restart()
		began = time.Now()
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || len(w.cloud.calls) != 0 || time.Since(began) > 0 {
			t.Errorf("second run: %v, calls %v, %s; want none at once", err, w.cloud.calls, time.Since(began))
		}
		w.restart()
		w.cloud.group = group
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || !slices.Equal(w.cloud.group.completed, []string{"CONTINUE"}) {
			t.Errorf("attached to a group: %v, completed %v; want CONTINUE", err, w.cloud.group.completed)
		}
	})
}
