package agenttest_test

import (
	"slices"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

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
		if !h.cloud.Disks.Consistent(id) && !h.killed[id] {
			h.t.Errorf("%s is eligible, and was taken while it was written to", id)
		}
	}
	if detachedMounted := h.cloud.Disks.DetachedMounted(); len(detachedMounted) > 0 {
		h.t.Errorf("%v: DetachVolume while mounted", detachedMounted)
	}
	h.checkTemplate()
	h.checkArrivals()
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
		h.checkOne(m)
		h.checkMounted(m)
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
	for id, m := range h.arrivals {
		if v := h.cloud.World().Volumes[id]; slices.Contains(h.ended, m.ID) && v.State(time.Now()) != "" {
			h.t.Errorf("%s is terminated, and %s, which came with its launch, is left", m.ID, id)
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
