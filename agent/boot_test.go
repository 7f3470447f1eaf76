package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

func initConfig() config.Config {
	c := config.DefaultConfig()
	c.IfNone = config.IfNoneBlank
	return c
}

// mutating are the calls that change something in EC2.
func mutating(calls []string) []string {
	return slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return strings.HasPrefix(c, "Describe") })
}

// mustBeUp checks the invariant of a boot that is done: one volume, attached,
// deleted on termination, mounted and bound.
func mustBeUp(t *testing.T, w *world) {
	t.Helper()
	live := w.cloud.live()
	if len(live) != 1 {
		t.Fatalf("%d volumes, want 1", len(live))
	}
	v := live[0]
	if len(v.Attachments) != 1 || v.Attachments[0].State != ec2ops.Attached || !v.Attachments[0].DeleteOnTermination {
		t.Errorf("attachments %+v, want one, attached and deleted on termination", v.Attachments)
	}
	dev, err := w.host.Find(mountfs.Volume{ID: v.ID})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/cp", "/home/deploy/codepen"} {
		if minor, ok := w.host.mounts[target]; !ok || minor != dev.Minor {
			t.Errorf("%s is not mounted from the volume", target)
		}
	}
}

func TestUpFromSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 3), release("snap-3", 2))
		result, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		r := result.Sources[0]
		if r.Snapshot != "snap-2" || r.State != report.StateReady || !r.Changed || r.Device != "/dev/sdf" {
			t.Errorf("report %+v, want ready from snap-2 as /dev/sdf", r)
		}
		var steps []report.Step
		for _, s := range r.Steps {
			steps = append(steps, s.Step)
		}
		want := []report.Step{report.Identify, report.Survey, report.Choose, report.Create, report.Attach, report.Inspect, report.Mount, report.Announce}
		if !slices.Equal(steps, want) {
			t.Errorf("steps %v, want %v", steps, want)
		}
		if len(w.host.formatted) != 0 {
			t.Error("a volume from a snapshot was formatted")
		}
		if len(w.host.made) != 0 {
			t.Errorf("directories made in a release: %v", w.host.made)
		}
		if r.EC2 < 2500*time.Millisecond || r.EC2 > r.Took {
			t.Errorf("EC2 took %s of %s; the volume alone takes 2.5 s", r.EC2, r.Took)
		}
	})
}

func TestUpAgainMakesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		w.restart()
		result, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if err != nil || len(w.cloud.calls) != 0 || result.Sources[0].Changed {
			t.Errorf("second run: error %v, calls %v, changed %v; want none", err, w.cloud.calls, result.Sources[0].Changed)
		}
		plan, err := w.agent.Plan(t.Context(), config.DefaultConfig())
		if err != nil || len(plan.Sources[0].Actions) != 0 {
			t.Errorf("plan: error %v, actions %v; want none", err, plan.Sources[0].Actions)
		}
		status, err := w.agent.Status(t.Context(), config.DefaultConfig(), StatusOptions{})
		if err != nil || status.Sources[0].State != report.StateReady {
			t.Errorf("status: error %v, state %v; want ready", err, status.Sources[0].State)
		}
	})
}

func TestUpAfterReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.reboot()
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-newer", 5))
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		if m := mutating(w.cloud.calls); len(m) != 0 {
			t.Errorf("calls after a reboot: %v, want only describes", m)
		}
	})
}

func TestChangedConfigurationIsNotTakenForFulfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		cfg := config.DefaultConfig()
		cfg.Sources[0].Binds = append(cfg.Sources[0].Binds, config.Bind{Dir: "static", Target: "/var/www/static"})
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if _, ok := w.host.mounts["/var/www/static"]; !ok {
			t.Error("the new bind is not mounted")
		}
		mustBeUp(t, w)
	})
}

func TestInit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if _, err := w.agent.Up(t.Context(), initConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		v := w.cloud.live()[0]
		if v.SizeGiB != config.DefaultSizeGiB || v.Type != "gp3" || v.Tags[ec2ops.TagFormatted] != mountfs.UUIDFor(v.ID) {
			t.Errorf("volume %+v, want 5 GiB gp3 with its UUID in %s", v.Volume, ec2ops.TagFormatted)
		}
		if len(w.host.formatted) != 1 || !slices.Equal(w.host.made, []string{"/cp/codepen"}) {
			t.Errorf("formatted %v, made %v; want once, and the Source directory", w.host.formatted, w.host.made)
		}
	})
}

// TestKilledAtEveryCall kills the process before and after the effect of every
// call that a boot makes, starts it again, and wants one volume that is up.
func TestKilledAtEveryCall(t *testing.T) {
	for name, start := range map[string]func() (*world, config.Config){
		"up":   func() (*world, config.Config) { return withRelease(), config.DefaultConfig() },
		"init": func() (*world, config.Config) { return newWorld(), initConfig() },
	} {
		for _, after := range []bool{false, true} {
			calls := 1
			for k := 1; k <= calls; k++ {
				t.Run(fmt.Sprintf("%s/call %d/after=%v", name, k, after), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, cfg := start()
						w.cloud.killAt, w.cloud.after = k, after
						_, err := w.agent.Up(t.Context(), cfg)
						calls = len(w.cloud.calls)
						if w.cloud.dead && err == nil {
							t.Fatal("a killed run reported success")
						}
						if !w.cloud.dead {
							calls = k // the boot makes fewer than k calls: the last round
							return
						}
						calls = k + 1
						w.restart()
						if _, err := w.agent.Up(t.Context(), cfg); err != nil {
							t.Fatal(err)
						}
						mustBeUp(t, w)
						w.restart()
						if _, err := w.agent.Up(t.Context(), cfg); err != nil || len(w.cloud.calls) != 0 {
							t.Errorf("third run: %v, calls %v; want none", err, w.cloud.calls)
						}
						if len(w.host.formatted) > 1 {
							t.Errorf("formatted %d times", len(w.host.formatted))
						}
					})
				})
			}
			if calls < 5 {
				t.Errorf("%s: only %d kill points were tried", name, calls)
			}
		}
	}
}

func TestKilledInMkfs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.host.killInFormat = true
		if _, err := w.agent.Up(t.Context(), initConfig()); !errors.Is(err, errKilled) {
			t.Fatalf("got %v, want the kill", err)
		}
		w.restart()
		if _, err := w.agent.Up(t.Context(), initConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
	})
}

// TestEarlierTokens: the token of a generation was used by an earlier run, with
// other parameters or for a volume that is gone.
func TestEarlierTokens(t *testing.T) {
	earlier := func(w *world) {
		if _, err := w.agent.Up(context.Background(), config.DefaultConfig()); err != nil {
			panic(err)
		}
		w.restart()
		w.reboot()
		for _, v := range w.cloud.volumes {
			v.State, v.Attachments = ec2ops.VolumeAvailable, nil
		}
	}
	newer := func(w *world) { w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2)) }
	gone := func(w *world) { clear(w.cloud.volumes) }
	for name, tc := range map[string]struct {
		between []func(*world)
		want    string // the volume's snapshot
	}{
		"same snapshot, volume gone":  {[]func(*world){gone}, "snap-1"},
		"newer snapshot, volume gone": {[]func(*world){newer, gone}, "snap-2"},
		"newer snapshot, volume not yet in lists": {[]func(*world){newer, func(w *world) {
			for _, v := range w.cloud.volumes {
				v.invisible = time.Now().Add(5 * time.Second)
			}
		}}, "snap-1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := withRelease()
				earlier(w)
				for _, change := range tc.between {
					change(w)
				}
				result, err := w.agent.Up(t.Context(), config.DefaultConfig())
				if err != nil {
					t.Fatal(err)
				}
				mustBeUp(t, w)
				if got := result.Sources[0].Snapshot; got != tc.want {
					t.Errorf("from %s, want %s", got, tc.want)
				}
			})
		})
	}
}

func TestDeviceNameTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.names = []string{"/dev/sda1", "/dev/sdf", "/dev/xvdg"}
		result, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		if got := result.Sources[0].Device; got != "/dev/sdh" {
			t.Errorf("attached as %s, want /dev/sdh", got)
		}
	})
}

// TestVolumeInErrorState: a volume that EC2 can't make is deleted and made again.
func TestVolumeInErrorState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		first := true
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "DescribeVolumes vol-") && first {
				first = false
				for _, v := range w.cloud.volumes {
					v.State = ec2ops.VolumeError
				}
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
	})
}

func TestSeveralSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		other := release("snap-shop", 1)
		other.Tags = map[string]string{ec2ops.TagName: "shop"}
		w.cloud.snapshots = append(w.cloud.snapshots, other)
		cfg := config.DefaultConfig()
		shop := config.DefaultSource()
		shop.Name, shop.Device, shop.Mount, shop.Binds = "shop", "/dev/sdg", "/shop", nil
		missing := config.DefaultSource()
		missing.Name, missing.Device, missing.Mount, missing.Binds = "missing", "/dev/sdh", "/missing", nil
		cfg.Sources = []config.Source{missing, cfg.Sources[0], shop}
		result, err := w.agent.Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitNoSnapshot || !strings.Contains(err.Error(), "missing") {
			t.Errorf("got %v, want no snapshot of the source missing", err)
		}
		var states []report.State
		for _, s := range result.Sources {
			states = append(states, s.State)
		}
		if want := []report.State{report.StateAbsent, report.StateReady, report.StateReady}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
	})
}
