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
		out, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because("breaks the login"), time.Now())
		if err != nil || out.Snapshot != "snap-2" || out.Next != "snap-1" {
			t.Fatalf("%+v, %v; want snap-2, then snap-1", out, err)
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
		promoted, err := releases.Promote(t.Context(), w.cloud, "codepen-app", "snap-2")
		if err != nil || promoted.Already || promoted.WhyNot != "" || promoted.Next != "snap-2" {
			t.Fatalf("%+v, %v", promoted, err)
		}
		if list, err = releases.List(t.Context(), w.cloud, "codepen-app"); err != nil || !list[0].Chosen || list[0].WhyNot != "" || list[1].WhyNot != "older" {
			t.Errorf("got %+v, %v; want snap-2 chosen again, snap-1 older", list, err)
		}
	})
}

func because(reason string) releases.RejectOptions { return releases.RejectOptions{Reason: reason} }

// TestRejectAndPromoteRefuse: nothing is changed of a snapshot of another source, of one that
// does not exist, or of the last eligible one.
func TestRejectAndPromoteRefuse(t *testing.T) {
	w := withRelease()
	other := release("snap-other", 1)
	other.Tags = map[string]string{ec2ops.TagName: "shop"}
	nobodys := release("snap-nobodys", 1)
	nobodys.Tags = nil
	w.cloud.snapshots = append(w.cloud.snapshots, other, nobodys)
	for id, want := range map[string]string{
		"snap-unknown": "there is no snapshot snap-unknown in this account and region",
		"snap-other":   "snap-other is a snapshot of shop, not of codepen-app; name its source with --source",
		"snap-nobodys": "snap-nobodys is no snapshot of codepen-app",
	} {
		_, rejectErr := releases.Reject(t.Context(), w.cloud, "codepen-app", id, because(""), time.Now())
		_, promoteErr := releases.Promote(t.Context(), w.cloud, "codepen-app", id)
		for _, err := range []error{rejectErr, promoteErr} {
			if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, failure.ErrNoSnapshot) {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	_, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because(""), time.Now())
	if !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), "snap-1 is the last eligible snapshot of codepen-app") {
		t.Errorf("the last one: %v", err)
	}
	if m := mutating(w.cloud.calls); len(m) != 0 {
		t.Errorf("calls %v", m)
	}
	out, err := releases.Reject(t.Context(), w.cloud, "codepen-app", "snap-1", releases.RejectOptions{AllowNone: true}, time.Now())
	if err != nil || out.Next != "" {
		t.Errorf("reject the only one: %+v, %v; want none", out, err)
	}
	if _, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because(""), time.Now()); !errors.Is(err, failure.ErrNoSnapshot) {
		t.Errorf("reject the latest of none: %v", err)
	}
}

// TestRejectTwice: a repeated command rejects nothing more.
func TestRejectTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2), release("snap-3", 3))
		if _, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because("bad"), time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		w.cloud.calls = nil
		out, err := releases.Reject(t.Context(), w.cloud, "codepen-app", "snap-3", because("again"), time.Now())
		if err != nil || !out.Already || out.Next != "snap-2" {
			t.Errorf("by its id: %+v, %v", out, err)
		}
		_, err = releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because("again"), time.Now())
		if !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), "snap-3 was rejected 2 min ago; to reject snap-2 as well, name it") {
			t.Errorf("latest: %v", err)
		}
		if m := mutating(w.cloud.calls); len(m) != 0 {
			t.Errorf("calls %v", m)
		}
		time.Sleep(8 * time.Minute)
		if out, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because(""), time.Now()); err != nil || out.Snapshot != "snap-2" {
			t.Errorf("latest, later: %+v, %v", out, err)
		}
	})
}

// TestRejectAsks: without consent nothing is changed.
func TestRejectAsks(t *testing.T) {
	w := withRelease()
	w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
	no := errors.New("no")
	var asked releases.Rejected
	_, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, releases.RejectOptions{
		Confirm: func(r releases.Rejected) error { asked = r; return no },
	}, time.Now())
	if !errors.Is(err, no) || asked.Snapshot != "snap-2" || asked.Next != "snap-1" || len(mutating(w.cloud.calls)) != 0 {
		t.Errorf("%v, asked for %+v, calls %v", err, asked, mutating(w.cloud.calls))
	}
}

// TestPromoteTwice: an eligible snapshot stays as it is; a pending one says so.
func TestPromoteTwice(t *testing.T) {
	w := withRelease()
	pending := release("snap-2", 2)
	pending.Tags, pending.State = map[string]string{ec2ops.TagSource: "codepen-app"}, ec2ops.SnapshotPending
	w.cloud.snapshots = append(w.cloud.snapshots, pending)
	out, err := releases.Promote(t.Context(), w.cloud, "codepen-app", "snap-1")
	if err != nil || !out.Already || out.Next != "snap-1" || len(mutating(w.cloud.calls)) != 0 {
		t.Errorf("%+v, %v, calls %v", out, err, mutating(w.cloud.calls))
	}
	for _, already := range []bool{false, true} {
		out, err := releases.Promote(t.Context(), w.cloud, "codepen-app", "snap-2")
		if err != nil || out.Already != already || out.WhyNot != "pending" || out.Next != "snap-1" {
			t.Errorf("a pending one: %+v, %v", out, err)
		}
	}
	if m := mutating(w.cloud.calls); len(m) != 1 {
		t.Errorf("calls %v", m)
	}
}

// TestPromoteLater: a snapshot of a later version is not promoted: no launch of this version could use it.
func TestPromoteLater(t *testing.T) {
	w := withRelease()
	later := release("snap-2", 2)
	later.Tags = map[string]string{ec2ops.TagSource: "codepen-app", ec2ops.TagFormat: "2"}
	w.cloud.snapshots = append(w.cloud.snapshots, later)
	_, err := releases.Promote(t.Context(), w.cloud, "codepen-app", "snap-2")
	if !errors.Is(err, failure.ErrUsage) || len(mutating(w.cloud.calls)) != 0 {
		t.Errorf("%v, calls %v", err, mutating(w.cloud.calls))
	}
}

func TestCheckID(t *testing.T) {
	for id, valid := range map[string]bool{
		"snap-0123456789abcdef0": true, "snap-01234567": true, "snap-0123456789abcdef": false, "snap-0123456789abcdefg": false,
		"snap-": false, "latest": false, "": false, "vol-0123456789abcdef0": false, "snap-0123456789ABCDEF0": false, " snap-01234567": false,
	} {
		if err := releases.CheckID(id); (err == nil) != valid || err != nil && !errors.Is(err, failure.ErrUsage) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestCandidate: a snapshot that carries the source's tag but not its name.
func TestCandidate(t *testing.T) {
	w := withRelease()
	candidate := release("snap-2", 2)
	candidate.Tags = map[string]string{ec2ops.TagSource: "codepen-app", ec2ops.TagRevision: "3f2a", ec2ops.TagInstance: "i-1"}
	candidate.Description = "try the new login"
	w.cloud.snapshots = append(w.cloud.snapshots, candidate)
	list, err := releases.List(t.Context(), w.cloud, "codepen-app")
	if err != nil || list[0].WhyNot != "not promoted" || !list[1].Chosen {
		t.Errorf("got %+v, %v; want the candidate listed and not chosen", list, err)
	}
	if c := list[0]; c.Revision != "3f2a" || c.Instance != "i-1" || c.Description != "try the new login" {
		t.Errorf("got %+v, want what it is", c)
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
	out, err := releases.Reject(t.Context(), w.cloud, "codepen-app", releases.Latest, because("bad"), time.Now())
	if err != nil || out.Snapshot != "snap-2" && out.Snapshot != "snap-copy" || len(out.Copies) != 1 || out.Next != "snap-1" {
		t.Errorf("%+v, %v", out, err)
	}
	if got, err := releases.Of("codepen-app", w.cloud.snapshots).Newest(); err != nil || got.ID != "snap-1" {
		t.Errorf("a launch takes %s, %v", got.ID, err)
	}
}
