package agenttest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

const (
	// histories are how many sequences of events a test run tries, unless
	// manyHistories, a number, says otherwise.
	histories     = 250
	manyHistories = "HISTORIES"
	// events are in each of them.
	events = 14
	// historySeed has it try one only, the one that a failure names.
	historySeed = "HISTORY_SEED"
)

// history is what happens to an account: launches, crashes, deployments, terminations
// and clean-ups, by chance.
type history struct {
	t       *testing.T
	rand    *rand.Rand
	cloud   *agenttest.Cloud
	running []*agenttest.Machine
	ended   []string // ids of terminated instances
	log     []string
	killed  map[string]bool // runs of snapshot that were killed during EC2's call
	names   int

	notReleases map[string]bool // backups and copies
}

// TestHistories drives random histories and checks, after every event, what is promised
// of the account: one volume per instance, nothing frozen, nothing stale, nothing lost.
func TestHistories(t *testing.T) {
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	first, count := rand.Uint64(), number(manyHistories, histories)
	if raceDetector {
		count = max(count/raceShare, 1)
	}
	if one := number(historySeed, 0); one != 0 {
		first, count = one, 1
	}
	t.Logf("seeds %d and the %d after it", first, count-1)
	agenttest.UseEnv(t)
	var total, kills atomic.Int64
	t.Run("by seed", func(t *testing.T) {
		const parts = 4 // more than there are processors do not help
		for part := range uint64(parts) {
			t.Run(strconv.FormatUint(part, 10), func(t *testing.T) {
				t.Parallel()
				for seed := first + part; seed-first < count && !t.Failed(); seed += parts {
					synctest.Test(t, func(t *testing.T) {
						h := newHistory(t, seed)
						for range events {
							h.event()
							h.check()
						}
						h.settle()
						total.Add(int64(len(h.log)))
						for _, e := range h.log {
							kills.Add(int64(strings.Count(e, "killed")))
						}
						if t.Failed() {
							t.Logf("%s=%d:\n%s", historySeed, seed, strings.Join(h.log, "\n"))
						}
					})
				}
			})
		}
	})
	t.Logf("%d histories, %d events, %d of them killed", count, total.Load(), kills.Load())
	if count > 1 && kills.Load() < total.Load()/5 {
		t.Error("too few are killed")
	}
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		t: t, rand: rand.New(rand.NewPCG(seed, seed)), killed: map[string]bool{}, notReleases: map[string]bool{},
		cloud: agenttest.New(t, ec2test.Options{Seed: seed | 1, Visibility: time.Duration(seed%3) * time.Second, Lag: time.Duration(seed/3%3) * 4 * time.Second}),
	}
	h.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	return h
}

func (h *history) config() config.Config {
	c := config.DefaultConfig()
	c.Roles.Roles = []string{"app"}
	c.Stale = []string{config.StaleWarn, config.StaleWait, config.StaleFail}[h.rand.IntN(3)]
	return c
}

func (h *history) event() {
	if h.rand.IntN(2) == 0 { // else EC2's lists may not show yet what was made last
		time.Sleep(time.Duration(h.rand.Int64N(int64(20 * time.Minute))))
	}
	if len(h.running) == 0 || h.rand.IntN(5) == 0 {
		h.launch()
		return
	}
	m := h.running[h.rand.IntN(len(h.running))]
	switch h.rand.IntN(13) {
	case 0, 1:
		h.up(m)
	case 2, 3, 4:
		h.deploy(m)
	case 5:
		h.tell("%s is rebooted", m.ID)
		m.Reboot()
		h.up(m)
	case 6:
		h.down(m)
	case 7:
		h.terminate(m)
	case 8:
		h.prune(m)
	case 9:
		h.reject(m)
	case 10:
		h.stop(m)
	case 11:
		h.backup(m)
	case 12:
		h.copy()
	}
}

func (h *history) tell(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// perform has a command run on a machine; by chance EC2 or the metadata service refuses
// something in passing meanwhile, and by chance it is killed at one of its moments. The
// outcome is told.
func (h *history) perform(m *agenttest.Machine, what string, do func(context.Context, *agenttest.Program) error) error {
	if h.rand.IntN(4) == 0 {
		spec := passing[h.rand.IntN(len(passing))]
		f, err := ec2test.ParseFault(spec)
		if err != nil {
			h.t.Fatal(err)
		}
		h.cloud.Server.SetFaults(f)
		defer h.cloud.Server.SetFaults()
		what += " with " + spec
	}
	moment, at, last := 0, 1+h.rand.IntN(1+h.rand.IntN(40)), ""
	mayDie := h.rand.IntN(2) == 0
	err := m.Run(h.t.Context(), func(name string) bool {
		moment++
		last = name
		return mayDie && moment == at
	}, do)
	switch {
	case errors.Is(err, agenttest.ErrKilled):
		h.tell("%s on %s: killed %s", what, m.ID, last)
	case err != nil:
		h.tell("%s on %s: %v", what, m.ID, err)
	default:
		h.tell("%s on %s", what, m.ID)
	}
	return err
}

func (h *history) launch() {
	h.names++
	m := h.cloud.Start(fmt.Sprintf("web-%d", h.names))
	h.running = append(h.running, m)
	h.up(m)
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
	}
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
		_, _, err := releases.Reject(ctx, a.Client, "codepen-app", releases.Latest, "by chance", time.Now())
		return err
	})
	if err != nil && !errors.Is(err, agenttest.ErrKilled) {
		h.t.Errorf("reject: %v", err)
	}
}

// check is what holds after every event, whatever was killed.
func (h *history) check() {
	h.t.Helper()
	w, now := h.cloud.World(), time.Now()
	owners := map[string]int{}
	for _, v := range w.Volumes {
		owner := v.Tags[ec2ops.TagInstance]
		if state := v.State(now); owner == "" || state == "" || state == "deleting" {
			continue
		}
		owners[owner]++
		if h.cloud.Disks.Frozen(v.ID) {
			h.t.Errorf("%s is frozen", v.ID)
		}
		if at := v.Attachment; at != nil && at.State(now) != "detached" && at.InstanceID != owner {
			h.t.Errorf("%s of %s is attached to %s", v.ID, owner, at.InstanceID)
		}
	}
	for owner, n := range owners {
		if n > 1 {
			h.t.Errorf("%s has %d volumes", owner, n)
		}
	}
	for _, id := range h.snapshots(h.eligible) {
		if !h.cloud.Disks.Sound(id) && !h.killed[id] {
			h.t.Errorf("%s is eligible, and was taken while it was written to", id)
		}
	}
	if pulled := h.cloud.Disks.Pulled(); len(pulled) > 0 {
		h.t.Errorf("%v: DetachVolume while mounted", pulled)
	}
	for _, m := range h.running {
		if r, err := m.LoadRecord("codepen-app"); h.role(m) != "" && err == nil && !r.Ready.IsZero() && m.MountedAt("/cp") == "" {
			h.t.Errorf("%s has a role, and no Source", m.ID)
		}
	}
}

// settle ends a history: whatever is running comes up, all else is pruned, and nothing
// is left that nobody needs.
func (h *history) settle() {
	h.tell("the end")
	time.Sleep(time.Hour)
	last := h.cloud.Start("last")
	h.running = append(h.running, last)
	for _, m := range h.running {
		if h.newest() == "" && len(h.volumesOf(m.ID)) == 0 {
			continue
		}
		cfg := h.config()
		cfg.Stale = config.StaleWarn // with fail, the next run would have to come
		_, err := m.Agent().Up(h.t.Context(), cfg)
		if h.newest() == "" && failure.ExitCode(err) == failure.ExitNoSnapshot {
			continue // its release is rejected, and there is no other
		}
		if err != nil {
			h.t.Errorf("%s does not come up: %v", m.ID, err)
			continue
		}
		h.ready(m)
	}
	a := last.Agent()
	if _, err := a.Client.Identify(h.t.Context(), nil); err != nil {
		h.t.Fatal(err)
	}
	if _, err := releases.Prune(h.t.Context(), a.Client, "codepen-app", releases.PruneOptions{Keep: 1}, time.Now()); err != nil {
		h.t.Errorf("prune: %v", err)
	}
	time.Sleep(time.Minute)
	h.check()
	for _, id := range h.ended {
		if left := h.volumesOf(id); len(left) > 0 {
			h.t.Errorf("%s is terminated, and its volumes %v are left", id, left)
		}
	}
}

// eligible says whether a launch may take a snapshot, a copy only if nothing else is left.
func (h *history) eligible(s *ec2test.Snapshot) bool {
	return !h.notReleases[s.ID] && s.Tags[ec2ops.TagName] == "codepen-app" && s.Tags[ec2ops.TagRejected] == "" && s.State(time.Now()) == "completed"
}

// snapshots gives the ids of those that exist and are as wanted, newest first.
func (h *history) snapshots(wanted func(*ec2test.Snapshot) bool) []string {
	var found []*ec2test.Snapshot
	for _, s := range h.cloud.World().Snapshots {
		if s.State(time.Now()) != "" && wanted(s) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *ec2test.Snapshot) int { return b.Started.Compare(a.Started) })
	var ids []string
	for _, s := range found {
		ids = append(ids, s.ID)
	}
	return ids
}

func (h *history) newest() string {
	if all := h.snapshots(h.eligible); len(all) > 0 {
		return all[0]
	}
	return ""
}

// allVisible says whether EC2's lists show all that there is.
func (h *history) allVisible() bool {
	w, now := h.cloud.World(), time.Now()
	for _, v := range w.Volumes {
		if now.Before(v.Visible) {
			return false
		}
	}
	for _, past := range w.Past {
		if now.Before(past.Until) {
			return false
		}
	}
	for _, s := range w.Snapshots {
		if now.Before(s.Visible) {
			return false
		}
	}
	return true
}

func (h *history) role(m *agenttest.Machine) string {
	return h.cloud.World().Instances[m.ID].Tags["Roles"]
}

// volumesOf gives the live volumes that were made for an instance.
func (h *history) volumesOf(instance string) []string {
	var ids []string
	for _, v := range h.cloud.World().Volumes {
		if state := v.State(time.Now()); v.Tags[ec2ops.TagInstance] == instance && state != "" && state != "deleting" {
			ids = append(ids, v.ID)
		}
	}
	return ids
}
