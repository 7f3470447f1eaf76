package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

// TestRollBack: reject takes the newest out of the running, so that a launch takes
// the one before; promote puts it back.
func TestRollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
		rejected, next, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, "breaks the login", time.Now())
		if err != nil || rejected != "snap-2" || next != "snap-1" {
			t.Fatalf("rejected %s, next %s, %v; want snap-2, then snap-1", rejected, next, err)
		}
		if m := mutating(w.cloud.calls); len(m) != 1 {
			t.Errorf("calls %v, want one, so that no half of it can happen", m)
		}
		list, err := releases.List(t.Context(), w.cloud, "codepen-app")
		if err != nil || len(list) != 2 || list[0].Snapshot != "snap-2" || !strings.Contains(list[0].WhyNot, "breaks the login") || !list[1].Chosen {
			t.Errorf("got %+v, %v; want snap-2 rejected with its reason, snap-1 chosen", list, err)
		}
		result, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if err != nil || result.Sources[0].Snapshot != "snap-1" {
			t.Errorf("a launch took %s, %v; want snap-1", result.Sources[0].Snapshot, err)
		}
		if err := releases.Promote(t.Context(), w.cloud, "codepen-app", "snap-2"); err != nil {
			t.Fatal(err)
		}
		if list, err = releases.List(t.Context(), w.cloud, "codepen-app"); err != nil || !list[0].Chosen || list[0].WhyNot != "" || list[1].WhyNot != "older" {
			t.Errorf("got %+v, %v; want snap-2 chosen again, snap-1 older", list, err)
		}
	})
}

func TestRejectAndPromoteRefuse(t *testing.T) {
	w := withRelease()
	if _, _, err := releases.Reject(t.Context(), w.cloud, "codepen-app", "snap-of-another", "", time.Now()); !errors.Is(err, failure.ErrNoSnapshot) {
		t.Errorf("reject: %v, want no such snapshot", err)
	}
	if err := releases.Promote(t.Context(), w.cloud, "codepen-app", "snap-of-another"); !errors.Is(err, failure.ErrNoSnapshot) {
		t.Errorf("promote: %v, want no such snapshot", err)
	}
	if m := mutating(w.cloud.calls); len(m) != 0 {
		t.Errorf("calls %v", m)
	}
	_, next, err := releases.Reject(t.Context(), w.cloud, "codepen-app", "snap-1", "", time.Now())
	if err != nil || next != "" {
		t.Errorf("reject the only one: next %q, %v; want none", next, err)
	}
	if _, _, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, "", time.Now()); !errors.Is(err, failure.ErrNoSnapshot) {
		t.Errorf("reject the latest of none: %v", err)
	}
}

// TestCandidate: a snapshot that carries the source's tag but not its name.
func TestCandidate(t *testing.T) {
	w := withRelease()
	candidate := release("snap-2", 2)
	candidate.Tags = map[string]string{ec2ops.TagSource: "codepen-app"}
	w.cloud.snapshots = append(w.cloud.snapshots, candidate)
	list, err := releases.List(t.Context(), w.cloud, "codepen-app")
	if err != nil || list[0].WhyNot != "not promoted" || !list[1].Chosen {
		t.Errorf("got %+v, %v; want the candidate listed and not chosen", list, err)
	}
}

// TestRejectTakesCopiesAlong: a promoted copy of a release that is rolled back does not
// come back as the newest.
func TestRejectTakesCopiesAlong(t *testing.T) {
	w := newWorld()
	ofRun := func(id string, hour int, run string) ec2ops.Snapshot {
		s := release(id, hour)
		s.Tags[ec2ops.TagRun] = run
		return s
	}
	copied := ofRun("snap-copy", 2, "r2")
	copied.Copy, copied.Tags[ec2ops.TagPromoted] = true, copied.ID
	w.cloud.snapshots = []ec2ops.Snapshot{ofRun("snap-1", 1, "r1"), copied, ofRun("snap-2", 2, "r2")}
	rejected, next, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, "bad", time.Now())
	if err != nil || rejected != "snap-2" && rejected != "snap-copy" || next != "snap-1" {
		t.Errorf("rejected %s, next %s, %v", rejected, next, err)
	}
	if got, err := releases.Of("codepen-app", w.cloud.snapshots).Newest(); err != nil || got.ID != "snap-1" {
		t.Errorf("a launch takes %s, %v", got.ID, err)
	}
}
