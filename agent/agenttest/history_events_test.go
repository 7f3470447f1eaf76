package agenttest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

func (h *history) launch() {
	h.up(h.start())
}

// up must end well unless there is nothing to launch from, or a newer snapshot is
// what it fails for.
func (h *history) up(m *agenttest.Machine) {
	cfg := h.config()
	wants, before, sure := h.newest(), h.volumesOf(m.ID), h.allVisible()
	var result report.Report
	err := h.perform(m, "up --stale "+cfg.Stale, func(ctx context.Context, a *agenttest.Program) (err error) {
		result, err = a.Up(ctx, cfg)
		return err
	})
	switch {
	case errors.Is(err, agenttest.ErrKilled):
		return
	case (!sure || wants == "") && failure.ExitCode(err) == failure.ExitNoSnapshot:
	case sure && wants == "" && len(before) == 0:
		if failure.ExitCode(err) != failure.ExitNoSnapshot {
			h.t.Errorf("up without any snapshot: %v", err)
		}
	case err != nil:
		// A volume that was deleted a moment ago, and EC2 says by its token that it is
		// creating, may still appear, for all that can be known.
		forgotten := errors.Is(err, ec2ops.ErrNotShown)
		if cfg.Stale != config.StaleFail && !forgotten || failure.ExitCode(err) != failure.ExitTemporary {
			h.t.Errorf("up: %v", err)
		}
	default:
		h.ready(m)
		if from := result.Sources[0].Snapshot; sure && len(before) == 0 && from != wants {
			h.t.Errorf("launched from %s, and %s is the newest", from, wants)
		}
		h.checkOne(m)
	}
	h.checkMounted(m)
}

// ready is what a run of up leaves: all mounted, nothing to do for the next run.
func (h *history) ready(m *agenttest.Machine) {
	if m.MountedAt("/cp") == "" || m.MountedAt("/home/deploy/codepen") == "" {
		h.t.Errorf("%s: nothing is mounted after up", m.ID)
	}
	calls := len(h.cloud.Calls())
	cfg := h.config()
	if _, err := m.Agent().Up(h.t.Context(), cfg); err != nil || len(h.cloud.Calls()) != calls {
		h.t.Errorf("%s: up when there is nothing to do: %v, %d calls", m.ID, err, len(h.cloud.Calls())-calls)
	}
}

func (h *history) deploy(m *agenttest.Machine) {
	before := h.snapshots(func(*ec2test.Snapshot) bool { return true })
	keep := h.rand.IntN(4)
	err := h.perform(m, fmt.Sprintf("snapshot --keep %d", keep), func(ctx context.Context, a *agenttest.Program) error {
		_, err := a.Snapshot(ctx, h.config(), deploy.Options{FreezeTimeout: deploy.DefaultFreezeTimeout, Keep: keep})
		return err
	})
	for _, id := range h.snapshots(func(*ec2test.Snapshot) bool { return true }) {
		if !slices.Contains(before, id) && err != nil {
			h.killed[id] = true
		}
	}
	if err != nil && !errors.Is(err, agenttest.ErrKilled) && failure.ExitCode(err) != failure.ExitTemporary {
		h.t.Errorf("snapshot: %v", err)
	}
}

func (h *history) down(m *agenttest.Machine) {
	remove, sure := h.rand.IntN(2) == 0, h.allVisible()
	err := h.perform(m, fmt.Sprintf("down, deleting %v", remove), func(ctx context.Context, a *agenttest.Program) error {
		_, err := a.Down(ctx, h.config(), remove)
		return err
	})
	switch {
	case errors.Is(err, agenttest.ErrKilled):
	case err != nil:
		h.t.Errorf("down: %v", err)
	case m.MountedAt("/cp") != "" || h.role(m) != "" || remove && sure && len(h.volumesOf(m.ID)) > 0:
		h.t.Errorf("%s: after down it has the role %q, mounted is %q", m.ID, h.role(m), m.MountedAt("/cp"))
	}
}

func (h *history) terminate(m *agenttest.Machine) {
	h.tell("%s is terminated", m.ID)
	if err := h.cloud.Server.Terminate(h.t.Context(), m.ID); err != nil {
		h.t.Fatal(err)
	}
	m.Reboot() // its kernel is gone
	h.running = slices.DeleteFunc(h.running, func(other *agenttest.Machine) bool { return other == m })
	h.ended = append(h.ended, m.ID)
}

// stop stops an instance for a while, and starts it: deployments pass it by.
func (h *history) stop(m *agenttest.Machine) {
	if err := h.cloud.Server.Stop(h.t.Context(), m.ID); err != nil {
		h.t.Fatal(err)
	}
	m.Reboot()
	time.Sleep(time.Duration(h.rand.Int64N(int64(time.Hour))))
	if h.rand.IntN(2) == 0 {
		h.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	}
	if err := h.cloud.Server.Start(h.t.Context(), m.ID); err != nil {
		h.t.Fatal(err)
	}
	h.tell("%s was stopped, and is started", m.ID)
	time.Sleep(time.Minute)
	h.up(m)
}

// backup is a snapshot that another tool takes of an instance's volume, with all of its
// tags.
func (h *history) backup(m *agenttest.Machine) {
	for _, id := range h.volumesOf(m.ID) {
		v := h.cloud.World().Volumes[id]
		snap := h.cloud.AddSnapshot(ec2test.Snapshot{VolumeID: id, Tags: maps.Clone(v.Tags)})
		h.notReleases[snap] = true
		h.tell("%s is a backup of %s", snap, id)
	}
}

// copy is a copy that another tool makes of a snapshot, with all of its tags.
func (h *history) copy() {
	all := h.snapshots(h.eligible)
	if len(all) == 0 {
		return
	}
	of := h.cloud.World().Snapshots[all[h.rand.IntN(len(all))]]
	snap := h.cloud.AddSnapshot(ec2test.Snapshot{VolumeID: "vol-ffffffff", Copy: true, Tags: maps.Clone(of.Tags)})
	h.notReleases[snap] = true
	h.tell("%s is a copy of %s", snap, of.ID)
}

func (h *history) prune(m *agenttest.Machine) {
	keep := 1 + h.rand.IntN(3)
	wants, before, sure := h.newest(), len(h.snapshots(h.eligible)), h.allVisible()
	err := h.perform(m, fmt.Sprintf("prune --keep %d", keep), func(ctx context.Context, a *agenttest.Program) error {
		if _, err := a.Client.Identify(ctx, nil); err != nil { // the region
			return err
		}
		_, err := releases.Prune(ctx, a.Client, "codepen-app", releases.PruneOptions{Keep: keep}, time.Now())
		return err
	})
	left := len(h.snapshots(h.eligible))
	switch {
	case sure && (h.newest() != wants || left < min(keep, before)):
		h.t.Errorf("prune left %d of %d snapshots, the newest is %q and was %q", left, before, h.newest(), wants)
	case err != nil && !errors.Is(err, agenttest.ErrKilled):
		h.t.Errorf("prune: %v", err)
	}
}

func (h *history) reject(m *agenttest.Machine) {
	if h.newest() == "" || !h.allVisible() {
		return
	}
	err := h.perform(m, "reject latest", func(ctx context.Context, a *agenttest.Program) error {
		if _, err := a.Client.Identify(ctx, nil); err != nil {
			return err
		}
		_, err := releases.Reject(ctx, a.Client, "codepen-app", h.newest(), releases.RejectOptions{Reason: "by chance", AllowNone: true}, time.Now())
		return err
	})
	if err != nil && !errors.Is(err, agenttest.ErrKilled) {
		h.t.Errorf("reject: %v", err)
	}
}
