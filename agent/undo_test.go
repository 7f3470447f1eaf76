package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// TestSnapshotGone: of two answers one is late; the launch waits, takes another snapshot
// as soon as there is one, and ends as temporary if it stays like that.
func TestSnapshotGone(t *testing.T) {
	notFound := &ec2ops.APIError{Action: "ec2:CreateVolume", Kind: ec2ops.ErrNotFound, Err: ec2ops.ErrNotFound}
	for name, tc := range map[string]struct {
		list  func(w *world, nth int)
		fails int // CreateVolume
		code  int
		from  string
	}{
		"deleted, another is left":     {func(w *world, nth int) { w.cloud.snapshots = []ec2ops.Snapshot{release("snap-1", 1)} }, 1, 0, "snap-1"},
		"CreateVolume was late":        {func(*world, int) {}, 3, 0, "snap-2"},
		"it is listed for ever":        {func(*world, int) {}, 1000, failure.ExitTemporary, ""},
		"deleted, and it was the last": {func(w *world, nth int) { w.cloud.snapshots = nil }, 1, failure.ExitNoSnapshot, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := withRelease()
				w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
				failed := 0
				w.cloud.fail = func(call string) error {
					if call != "CreateVolume" || failed == tc.fails {
						return nil
					}
					failed++
					tc.list(w, failed)
					return notFound
				}
				result, err := w.agent.Up(t.Context(), config.DefaultConfig())
				if failure.ExitCode(err) != tc.code || result.Sources[0].Snapshot != tc.from {
					t.Errorf("exit code %d from %q, %v; want %d from %q", failure.ExitCode(err), result.Sources[0].Snapshot, err, tc.code, tc.from)
				}
				if err != nil && len(w.cloud.live()) != 0 {
					t.Error("a volume is left")
				}
			})
		})
	}
}

func TestDecideUndo(t *testing.T) {
	refused, temporary := failure.ErrRefused, failure.ErrTemporary
	at := func(from origin, byThisRun, complete, deletedWithInstance bool) announced {
		a := attached{placed: placed{volume: ec2ops.Volume{ID: "vol-1"}, origin: from}}
		return announced{mounted: mounted{a, byThisRun, complete}, deletedWithInstance: deletedWithInstance}
	}
	for name, tc := range map[string]struct {
		at        announced
		cause     error
		abandoned bool
		want      undoAction
	}{
		"temporary, created":               {at(created, false, false, false), temporary, false, undoNothing},
		"lasting, nothing yet":             {announced{}, refused, false, undoNothing},
		"lasting, created":                 {at(created, false, false, false), refused, false, undoVolume},
		"lasting, created and mounted":     {at(created, true, false, false), refused, false, undoVolume},
		"lasting, created and complete":    {at(created, true, true, false), refused, false, undoNothing},
		"the same, and it would outlive":   {at(created, true, true, false), refused, true, undoVolume},
		"the same, and it goes with it":    {at(created, true, true, true), refused, true, undoNothing},
		"lasting, adopted":                 {at(adopted, false, false, false), refused, false, undoNothing},
		"lasting, adopted and mounted now": {at(adopted, true, false, false), refused, false, undoMount},
		"stuck, mounted":                   {at(created, true, true, false), errStuck, false, undoAttachment},
		"stuck, not mounted":               {at(created, false, false, false), errStuck, false, undoNothing},
		"an unknown refusal":               {at(created, false, false, false), errors.Join(temporary, ec2ops.ErrPermanent), false, undoVolume},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decideUndo(tc.at, tc.cause, tc.abandoned); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestSecondVolumeGoesWithItsInstance: what is known of the first volume of a run says
// nothing of the second.
func TestSecondVolumeGoesWithItsInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := withRelease(), config.DefaultConfig()
		cfg.Stale, cfg.LifecycleHook, cfg.Roles.Roles = config.StaleWait, "launch", []string{"app"}
		w.cloud.group = fakeGroup{state: "Pending:Wait", target: "InService", hook: "launch"}
		modified := 0
		w.cloud.fail = func(call string) error {
			switch {
			case strings.HasPrefix(call, "CreateTags i-") && len(w.cloud.snapshots) == 1:
				w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
			case strings.HasPrefix(call, "ModifyInstanceAttribute"):
				if modified++; modified > 1 {
					return &ec2ops.APIError{Action: "ec2:ModifyInstanceAttribute", Kind: ec2ops.ErrDenied, Err: ec2ops.ErrDenied}
				}
			}
			return nil
		}
		_, err := w.agent.Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitDenied {
			t.Fatalf("got %v", err)
		}
		if n := len(w.cloud.live()); n != 0 {
			t.Errorf("%d volumes are left, which outlive the instance that is abandoned", n)
		}
	})
}

// TestUndoWhileAttaching: EC2 refuses to describe a blank volume that is being attached; the
// volume is deleted all the same.
func TestUndoWhileAttaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := newWorld(), config.DefaultConfig()
		cfg.IfNone = config.IfNoneBlank
		w.cloud.attachTakes = 10 * time.Second
		attaching := false
		w.cloud.fail = func(call string) error {
			switch {
			case strings.HasPrefix(call, "AttachVolume"):
				attaching = true
			case attaching && strings.HasPrefix(call, "DescribeVolumes vol-"):
				attaching = false
				return denied("DescribeVolumes")
			}
			return nil
		}
		result, err := w.agent.Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitDenied || len(w.cloud.live()) != 0 {
			t.Errorf("%v; %d volumes are left, notes %q", err, len(w.cloud.live()), result.Sources[0].Notes)
		}
	})
}

// TestRejectedWithoutReplacement: the only release is rejected before the launch is
// announced. Nothing stays mounted, and no role stays on.
func TestRejectedWithoutReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := withRelease(), config.DefaultConfig()
		cfg.Roles.Roles = []string{"app"}
		lists := 0
		w.cloud.fail = func(call string) error {
			if call == "DescribeSnapshots" {
				if lists++; lists == 2 { // the check in announce, with the roles on
					w.cloud.dead = true
					return errKilled
				}
			}
			return nil
		}
		_, _ = w.agent.Up(t.Context(), cfg) // killed
		w.restart()
		w.cloud.snapshots[0].Tags = releases.Rejection("codepen-app", "bad", time.Now())
		result, err := w.agent.Up(t.Context(), cfg)
		r := result.Sources[0]
		if failure.ExitCode(err) != failure.ExitNoSnapshot || len(w.host.mounts) != 0 || w.cloud.instanceTags["Roles"] != "" || len(w.cloud.live()) != 0 {
			t.Errorf("%v; mounts %v, tags %v, %d volumes, notes %q", err, w.host.mounts, w.cloud.instanceTags, len(w.cloud.live()), r.Notes)
		}
		if i := slices.IndexFunc(r.Steps, func(s report.FinishedStep) bool { return s.Failure != "" }); i < 0 || r.Steps[i].Step != report.Choose {
			t.Errorf("no failure of %s in %+v", report.Choose, r.Steps)
		}
	})
}
