package agent

import (
	"maps"
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

func upWith(t *testing.T, w *world, stale string) (report.Report, error) {
	t.Helper()
	cfg := config.DefaultConfig()
	cfg.Roles.Roles, cfg.Stale = []string{"app"}, stale
	return w.agent.Up(t.Context(), cfg)
}

// TestServedVolumeIsKept: a volume that was in service is not replaced because it was taken
// down in between, whatever became of its snapshot.
func TestServedVolumeIsKept(t *testing.T) {
	for _, stale := range []string{config.StaleWarn, config.StaleWait, config.StaleFail} {
		synctest.Test(t, func(t *testing.T) {
			w := withRelease()
			if _, err := upWith(t, w, stale); err != nil {
				t.Fatal(err)
			}
			before := slices.Sorted(maps.Keys(w.cloud.volumes))
			w.cloud.snapshots = []ec2ops.Snapshot{release("snap-2", 2)} // and its own is pruned
			if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil {
				t.Fatal(err)
			}
			if _, err := upWith(t, w, stale); err != nil {
				t.Errorf("%s: %v", stale, err)
			}
			if after := slices.Sorted(maps.Keys(w.cloud.volumes)); !slices.Equal(before, after) {
				t.Errorf("%s: volumes %v, and now %v", stale, before, after)
			}
		})
	}
}

// TestOldVolumeByToken: the volume of an earlier run that only the client token gives is not
// deleted after a failure.
func TestOldVolumeByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.snapshots = nil
		cfg := config.DefaultConfig()
		cfg.IfNone = config.IfNoneBlank
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := w.agent.Down(t.Context(), cfg, false); err != nil {
			t.Fatal(err)
		}
		w.reboot()
		time.Sleep(time.Hour)
		for _, v := range w.cloud.volumes {
			v.invisible = time.Now().Add(20 * time.Second)
		}
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "AttachVolume") {
				return denied("ec2:AttachVolume")
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), cfg); failure.ExitCode(err) != failure.ExitDenied {
			t.Errorf("got %v", err)
		}
		if len(w.cloud.live()) != 1 {
			t.Error("the volume, which was in service, is deleted")
		}
	})
}

// TestOtherNotFound: that EC2 does not find something else says nothing of the volume.
func TestOtherNotFound(t *testing.T) {
	for _, at := range []string{"CreateTags i-", "AttachVolume"} {
		synctest.Test(t, func(t *testing.T) {
			w := withRelease()
			if _, err := upWith(t, w, config.StaleWarn); err != nil {
				t.Fatal(err)
			}
			if at == "AttachVolume" {
				if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil {
					t.Fatal(err)
				}
			}
			w.reboot()
			w.cloud.fail = func(call string) error {
				if strings.HasPrefix(call, at) {
					return &ec2ops.APIError{Action: "ec2:X", Code: "InvalidInstanceID.NotFound", Kind: ec2ops.ErrNotFound, Err: ec2ops.ErrNotFound}
				}
				return nil
			}
			if _, err := upWith(t, w, config.StaleWarn); failure.ExitCode(err) != failure.ExitTemporary {
				t.Errorf("%s: %v", at, err)
			}
			if len(w.cloud.volumes) != 1 {
				t.Errorf("%s: %d volumes", at, len(w.cloud.volumes))
			}
		})
	}
}

// TestRebootedBeforeAnnounced: a run that was killed once the volume was attached, and the
// machine with it, has announced nothing: its release is rejected meanwhile.
func TestRebootedBeforeAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		bad := release("snap-2", 2)
		w.cloud.snapshots = append(w.cloud.snapshots, bad)
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "ModifyInstanceAttribute") {
				w.cloud.dead = true
				return errKilled
			}
			return nil
		}
		_, _ = upWith(t, w, config.StaleWarn) // killed
		w.restart()
		w.reboot()
		w.cloud.snapshots[1].Tags = releases.Rejection("codepen-app", "bad", time.Now())
		result, err := upWith(t, w, config.StaleWarn)
		if err != nil || result.Sources[0].Snapshot != "snap-1" {
			t.Errorf("from %s, %v: %v %v", result.Sources[0].Snapshot, err, result.Sources[0].Notes, w.cloud.calls)
		}
	})
}

// TestNeverBlankInPlaceOfARelease: without an eligible snapshot a blank volume is made only
// if that is no passing answer, none is pending, and the launch has had none.
func TestNeverBlankInPlaceOfARelease(t *testing.T) {
	for name, tc := range map[string]struct {
		lists func(w *world, nth int) // before each list of snapshots
		want  string                  // the snapshot of the volume
		code  int
	}{
		"one empty list": {func(w *world, nth int) {
			w.cloud.snapshots = nil
			if nth > 1 {
				w.cloud.snapshots = []ec2ops.Snapshot{release("snap-1", 1)}
			}
		}, "snap-1", failure.ExitDone},
		"one is pending": {func(w *world, _ int) {
			w.cloud.snapshots = []ec2ops.Snapshot{release("snap-1", 1)}
			w.cloud.snapshots[0].State = ec2ops.SnapshotPending
		}, "", failure.ExitTemporary},
		"none": {func(w *world, _ int) { w.cloud.snapshots = nil }, "", failure.ExitDone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := newWorld(), config.DefaultConfig()
				cfg.IfNone, cfg.Stale = config.IfNoneBlank, config.StaleIgnore
				nth := 0
				w.cloud.fail = func(call string) error {
					if call == "DescribeSnapshots" {
						nth++
						tc.lists(w, nth)
					}
					return nil
				}
				result, err := w.agent.Up(t.Context(), cfg)
				if failure.ExitCode(err) != tc.code || err == nil && result.Sources[0].Snapshot != tc.want {
					t.Errorf("from %q, %v", result.Sources[0].Snapshot, err)
				}
			})
		})
	}
}

// TestRolesComeOff: a run that fails leaves no role on an instance without a Source.
func TestRolesComeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		if _, err := upWith(t, w, config.StaleWarn); err != nil {
			t.Fatal(err)
		}
		w.reboot()
		w.cloud.fail = func(call string) error {
			if call == "DescribeVolumes" {
				return denied("ec2:DescribeVolumes")
			}
			return nil
		}
		if _, err := upWith(t, w, config.StaleWarn); failure.ExitCode(err) != failure.ExitDenied || w.cloud.instanceTags["Roles"] != "" {
			t.Errorf("%v, and the roles are %q", err, w.cloud.instanceTags["Roles"])
		}
	})
}

// TestWaitsWithoutRoles: while a superseded launch waits for the newer snapshot, no
// deployment finds it.
func TestWaitsWithoutRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		looks := 0
		w.cloud.fail = func(call string) error {
			switch {
			case strings.HasPrefix(call, "CreateTags i-") && len(w.cloud.snapshots) == 1:
				newer := release("snap-2", 2)
				newer.State = ec2ops.SnapshotPending
				w.cloud.snapshots = append(w.cloud.snapshots, newer)
			case call == "DescribeSnapshots" && len(w.cloud.snapshots) == 2 && w.cloud.snapshots[1].State == ec2ops.SnapshotPending:
				if looks++; looks > 1 && w.cloud.instanceTags["Roles"] != "" { // the first is the second look
					t.Errorf("look %d: the roles are on", looks)
				}
				if looks == 4 {
					w.cloud.snapshots[1].State = ec2ops.SnapshotCompleted
				}
			}
			return nil
		}
		result, err := upWith(t, w, config.StaleWait)
		if err != nil || result.Sources[0].Snapshot != "snap-2" || looks < 4 || w.cloud.instanceTags["Roles"] != "app" {
			t.Errorf("from %s after %d looks, %v", result.Sources[0].Snapshot, looks, err)
		}
	})
}

// missesRelease is an instance that was stopped while a release was made.
func missesRelease(t *testing.T) *world {
	t.Helper()
	w, self := withRelease(), theInstance
	t.Cleanup(func() { theInstance = self })
	time.Sleep(30 * 365 * 24 * time.Hour) // beyond the snapshots' times
	if _, err := upWith(t, w, config.StaleWarn); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
	newer := release("snap-2", 2)
	newer.Start = time.Now()
	w.cloud.snapshots = append(w.cloud.snapshots, newer)
	w.reboot()
	theInstance.Launched = time.Now()
	w.restart()
	return w
}

// TestDownDoesNotHideAStart: down, and up again, on an instance that was stopped while a
// release was made says so all the same.
func TestDownDoesNotHideAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := missesRelease(t)
		if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil {
			t.Fatal(err)
		}
		result, err := upWith(t, w, config.StaleWarn)
		if err != nil || len(result.Sources[0].Notes) == 0 || !strings.Contains(result.Sources[0].Notes[0], "stopped and started") {
			t.Errorf("%v, %v", result.Sources[0].Notes, err)
		}
	})
}

// TestPlanOfASupersededVolume: plan ends as up does, and shows what up deletes.
func TestPlanOfASupersededVolume(t *testing.T) {
	for stale, code := range map[string]int{config.StaleWarn: failure.ExitDone, config.StaleWait: failure.ExitDone, config.StaleFail: failure.ExitTemporary} {
		synctest.Test(t, func(t *testing.T) {
			w, cfg := missesRelease(t), config.DefaultConfig()
			cfg.Roles.Roles, cfg.Stale = []string{"app"}, stale
			result, err := w.agent.Plan(t.Context(), cfg)
			deletes := slices.ContainsFunc(result.Sources[0].Actions, func(a report.Action) bool { return a.Step == report.Delete })
			if failure.ExitCode(err) != code || deletes != (stale != config.StaleWarn) || len(mutating(w.cloud.calls)) != 0 {
				t.Errorf("%s: %v, %+v, calls %q", stale, err, result.Sources[0].Actions, mutating(w.cloud.calls))
			}
			if _, err := w.agent.Up(t.Context(), cfg); failure.ExitCode(err) != code {
				t.Errorf("%s: up ends with %v", stale, err)
			}
		})
	}
}
