package agenttest_test

import (
	"maps"
	"slices"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/ec2ops"
)

// checkArrivals is the part of check about volumes that came with a launch, or were attached by hand.
func (h *history) checkArrivals() {
	h.t.Helper()
	w, now := h.cloud.World(), time.Now()
	for id, m := range h.arrivals {
		v := w.Volumes[id]
		if v == nil || v.State(now) == "" || v.State(now) == "deleting" || v.Tags[ec2ops.TagInstance] != "" {
			continue
		}
		if v.Attachment == nil || v.Attachment.InstanceID != m.ID || v.State(now) != "in-use" || !v.Attachment.DeleteOnTermination {
			h.t.Errorf("%s, which came with %s, is %s, and no tag leads to it", id, m.ID, v.State(now))
		}
		if more := h.volumesOf(m.ID); len(more) > 0 {
			h.t.Errorf("%s has %v beside %s, which came with its launch", m.ID, more, id)
		}
	}
	for id, f := range h.foreign {
		v := w.Volumes[id]
		there := v != nil && v.State(now) == "in-use" && v.Attachment.InstanceID == f.instance
		switch {
		case slices.Contains(h.ended, f.instance):
		case !there:
			h.t.Errorf("%s (%s) is not attached to %s any more", id, f.why, f.instance)
		case !maps.Equal(v.Tags, f.volume.Tags):
			h.t.Errorf("%s (%s) is tagged %v, and was %v", id, f.why, v.Tags, f.volume.Tags)
		case uuidOf(h.cloud.Disks, id) != f.uuid:
			h.t.Errorf("%s (%s) is formatted", id, f.why)
		}
	}
}

// checkMounted says that no volume is mounted that is not the source's, when a run has ended that was
// not killed.
func (h *history) checkMounted(m *agenttest.Machine) {
	h.t.Helper()
	for _, path := range []string{"/cp", "/home/deploy/codepen"} {
		if f, is := h.foreign[m.MountedAt(path)]; is {
			h.t.Errorf("%s: %s is mounted at %s: %s", m.ID, f.volume.ID, path, f.why)
		}
	}
}

// checkOne says that a machine's Source is the only volume of the source that it has: whatever came
// with its launch is in use, or gone.
func (h *history) checkOne(m *agenttest.Machine) {
	h.t.Helper()
	mounted := m.MountedAt("/cp")
	if owner := h.cloud.World().Volumes[mounted].Tags[ec2ops.TagInstance]; owner != m.ID {
		h.t.Errorf("%s: %s is mounted, and its tags say that it is %q's", m.ID, mounted, owner)
	}
	for id, of := range h.arrivals {
		if v := h.cloud.World().Volumes[id]; of == m && id != mounted && v != nil && v.State(time.Now()) != "" && v.State(time.Now()) != "deleting" {
			h.t.Errorf("%s: %s is mounted, and %s, which came with its launch, is %s", m.ID, mounted, id, v.State(time.Now()))
		}
	}
}
