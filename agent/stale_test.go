package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// A deployment lists its servers, writes the release into each, and takes a
// snapshot, which is pending for a while. One that lists once more afterwards
// writes into those that have come meanwhile.
type deployment struct {
	w       *world
	targets bool // the instance is among those it wrote to
}

func (d *deployment) list() { d.targets = d.targets || d.w.cloud.instanceTags["Roles"] != "" }
func (d *deployment) snap() {
	s := release("snap-new", 2)
	s.State = ec2ops.SnapshotPending
	d.w.cloud.snapshots = append(d.w.cloud.snapshots, s)
}
func (d *deployment) complete() {
	for i := range d.w.cloud.snapshots {
		d.w.cloud.snapshots[i].State = ec2ops.SnapshotCompleted
	}
}

// interleavings gives every way in which n steps can fall into slots, in order.
func interleavings(n, slots int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, rest := range interleavings(n-1, slots) {
		least := 0
		if len(rest) > 0 {
			least = rest[len(rest)-1]
		}
		for s := least; s < slots; s++ {
			all = append(all, append(slices.Clone(rest), s))
		}
	}
	return all
}

// launchBeside is a launch beside a deployment whose steps come in the given slots, when
// the launch makes its calls; advance takes the steps up to a slot.
func launchBeside(policy string, order []int) (w *world, cfg config.Config, d *deployment, advance func(slot int)) {
	w, cfg = withRelease(), config.DefaultConfig()
	cfg.Roles.Roles, cfg.Stale, cfg.Timeout = []string{"app"}, policy, time.Hour
	d = &deployment{w: w}
	steps := []func(){d.list, d.snap, d.list, d.complete}
	next := 0
	advance = func(slot int) {
		for next < len(steps) && order[next] <= slot {
			steps[next]()
			next++
		}
	}
	slot := -1
	lists := 0
	w.cloud.fail = func(call string) error {
		switch {
		case call == "DescribeSnapshots" && lists == 0:
			slot, lists = 0, 1
		case strings.HasPrefix(call, "CreateTags i-") && slot < 1:
			slot = 1
		case call == "DescribeSnapshots" && slot == 1:
			slot = 2
		case slot == 2:
			slot = 3 // the launch has looked again and goes on, or waits
		}
		if slot >= 0 {
			advance(slot)
		}
		return nil
	}
	return w, cfg, d, advance
}

// TestFreshness runs a deployment and a launch in every order of their steps. A
// deployment that lists the servers again once its snapshot call has returned
// leaves no launch with the older release that does not know of it.
func TestFreshness(t *testing.T) {
	const slots = 4 // before the launch chooses, before its roles, before it looks again, after it
	for _, policy := range []string{config.StaleIgnore, config.StaleWarn, config.StaleWait, config.StaleFail} {
		orders := interleavings(4, slots)
		missed, told, fresh := 0, 0, 0
		for _, order := range orders {
			synctest.Test(t, func(t *testing.T) {
				w, cfg, d, advance := launchBeside(policy, order)
				result, err := w.agent.Up(t.Context(), cfg)
				w.cloud.fail = nil
				advance(slots)
				r := result.Sources[0]
				hasNew := r.Snapshot == "snap-new" || d.targets
				knows := len(r.Notes) > 0 || failure.ExitCode(err) == failure.ExitTemporary
				switch {
				case hasNew:
					fresh++
				case knows:
					told++
				default:
					missed++
					if policy != config.StaleIgnore {
						t.Errorf("%s, order %v: the older release is served, and nobody knows", policy, order)
					}
				}
				switch {
				case policy == config.StaleFail && err != nil:
					if len(w.cloud.live()) != 0 || w.cloud.instanceTags["Roles"] != "" || len(w.host.mounts) != 0 {
						t.Errorf("order %v: the failed launch left a volume, a role or a mount", order)
					}
				case err != nil:
					t.Errorf("%s, order %v: %v", policy, order, err)
				default:
					mustBeUp(t, w)
				}
			})
		}
		t.Logf("%s: %d orders, %d with the new release, %d told, %d missed", policy, len(orders), fresh, told, missed)
		if policy == config.StaleIgnore && missed == 0 {
			t.Error("without a second look nothing is missed: this test can't fail")
		}
		if policy != config.StaleIgnore && told+fresh != len(orders) {
			t.Errorf("%s: %d of %d orders are accounted for", policy, told+fresh, len(orders))
		}
	}
}

// TestStaleAfterCrash: a launch that was killed before it was announced looks
// again in its next run; an instance that is rebooted does not.
func TestStaleAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "ModifyInstanceAttribute") {
				w.cloud.dead = true
				return errKilled
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err == nil {
			t.Fatal("not killed")
		}
		w.restart()
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
		result, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if err != nil || len(result.Sources[0].Notes) != 1 || !strings.Contains(result.Sources[0].Notes[0], "snap-2") {
			t.Errorf("notes %v, %v; want one that names snap-2", result.Sources[0].Notes, err)
		}
		w.reboot()
		cfg := config.DefaultConfig()
		cfg.Stale = config.StaleFail
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Errorf("after a reboot: %v", err)
		}
	})
}

// TestStartingOverKilled: a launch that starts over on a newer snapshot is killed at
// each of its calls. The next run ends with the newer one all the same.
func TestStartingOverKilled(t *testing.T) {
	cfg := config.DefaultConfig()
	cfg.Stale = config.StaleWait
	points := 0
	for _, after := range []bool{false, true} {
		for k, over := 1, false; !over; k++ {
			synctest.Test(t, func(t *testing.T) {
				w := withRelease()
				appears := func(call string) error {
					if strings.HasPrefix(call, "AttachVolume") && len(w.cloud.snapshots) == 1 {
						w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
					}
					return nil
				}
				w.cloud.fail, w.cloud.killAt, w.cloud.after = appears, k, after
				result, err := w.agent.Up(t.Context(), cfg)
				if over = !w.cloud.dead; !over {
					points++
					w.restart()
					w.cloud.fail = appears
					result, err = w.agent.Up(t.Context(), cfg)
				}
				if err != nil {
					t.Fatalf("killed at call %d, after=%v: %v", k, after, err)
				}
				mustBeUp(t, w)
				if got := w.cloud.live()[0].SnapshotID; got != "snap-2" {
					t.Errorf("killed at call %d, after=%v: the Source is from %s; notes %v", k, after, got, result.Sources[0].Notes)
				}
			})
		}
	}
	t.Logf("killed at %d points", points)
	if points < 30 {
		t.Error("too few: it did not start over")
	}
}
