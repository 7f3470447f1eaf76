package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// TestWarmPool: an instance that is warmed has its volume mounted and no roles. Once it
// is about to serve, it starts from the newest release.
func TestWarmPool(t *testing.T) {
	for name, tc := range map[string]struct {
		deployed bool // while it was stopped
		running  bool // it was not stopped, and up is run again on its way into service
		want     string
	}{
		"nothing new":           {false, false, "snap-1"},
		"a deployment":          {true, false, "snap-2"},
		"running, nothing new":  {false, true, "snap-1"},
		"running, a deployment": {true, true, "snap-2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := inGroup()
				w.cloud.group.state, w.cloud.group.target = "Warmed:Pending:Wait", "Warmed:Stopped"
				if _, err := w.agent.Up(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				mustBeUp(t, w)
				if got := w.cloud.group.completed; !slices.Equal(got, []string{"CONTINUE"}) || w.cloud.instanceTags["Roles"] != "" {
					t.Errorf("warmed: completed %v, roles %q; want CONTINUE and none", got, w.cloud.instanceTags["Roles"])
				}
				warmed := w.cloud.live()[0].ID

				w.restart()
				if !tc.running {
					w.reboot()
				}
				w.cloud.group.state, w.cloud.group.target = "Pending:Wait", "InService"
				began := time.Now()
				if tc.deployed {
					w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
				}
				if _, err := w.agent.Up(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				mustBeUp(t, w)
				if took := time.Since(began); took >= appearTimeout {
					t.Errorf("took %s; it waits for the volume that it has deleted itself", took)
				}
				v := w.cloud.live()[0]
				if v.SnapshotID != tc.want || (v.ID == warmed) == tc.deployed {
					t.Errorf("serves %s from %s, warmed was %s; want %s", v.ID, v.SnapshotID, warmed, tc.want)
				}
				if got := w.cloud.group.completed; !slices.Equal(got, []string{"CONTINUE", "CONTINUE"}) || w.cloud.instanceTags["Roles"] != "app" {
					t.Errorf("in service: completed %v, roles %q; want CONTINUE twice and app", got, w.cloud.instanceTags["Roles"])
				}
			})
		})
	}
}

// TestHeartbeatsWhileStartingOver: a launch that waits for a newer snapshot, for longer
// than a hook does, is still at work.
func TestHeartbeatsWhileStartingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := inGroup()
		cfg.Stale = config.StaleWait
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "AttachVolume") && len(w.cloud.snapshots) == 1 {
				newer := release("snap-2", 2)
				newer.State = ec2ops.SnapshotPending
				w.cloud.snapshots = append(w.cloud.snapshots, newer)
				time.AfterFunc(2*time.Minute, func() {
					w.cloud.mu.Lock()
					defer w.cloud.mu.Unlock()
					later := slices.Clone(w.cloud.snapshots) // the agent may be reading the list
					later[1].State = ec2ops.SnapshotCompleted
					w.cloud.snapshots = later
				})
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if g := w.cloud.group; g.heartbeats < 7 || !slices.Equal(g.completed, []string{"CONTINUE"}) {
			t.Errorf("%d heartbeats in two minutes, completed %v; want 7 or more, and CONTINUE", g.heartbeats, g.completed)
		}
	})
}
