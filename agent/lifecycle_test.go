package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

const hook = "launch"

// inGroup is an instance that a group launches, with a release to start from.
func inGroup() (*world, config.Config) {
	w, cfg := withRelease(), config.DefaultConfig()
	w.cloud.group = fakeGroup{state: "Pending:Wait", target: "InService", hook: hook}
	cfg.LifecycleHook, cfg.Roles.Roles = hook, []string{"app"}
	return w, cfg
}

// called counts the calls that begin so.
func (c *fakeCloud) called(prefix string) int {
	n := 0
	for _, call := range c.calls {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

// autoScaling counts the calls to Auto Scaling.
func (c *fakeCloud) autoScaling() int {
	return c.called("DescribeAutoScalingInstances") + c.called("CompleteLifecycleAction") + c.called("RecordLifecycleActionHeartbeat")
}

var launchHookCases = map[string]struct {
	change     func(w *world, cfg *config.Config)
	completed  []string
	heartbeats int
	calls      int // to Auto Scaling; -1 does not matter
	exit       int
	volumes    int
}{
	"launch":              {nil, []string{"CONTINUE"}, 0, 2, failure.ExitDone, 1},
	"launch that is slow": {func(w *world, _ *config.Config) { w.cloud.createTakes = 50 * time.Second }, []string{"CONTINUE"}, 3, 5, failure.ExitDone, 1},
	"hook is up late": {func(w *world, _ *config.Config) {
		w.cloud.group.state, w.cloud.group.waits = "Pending", time.Now().Add(20*time.Second)
	}, []string{"CONTINUE"}, 0, -1, failure.ExitDone, 1},
	"hook is up after 40 s": {func(w *world, _ *config.Config) {
		w.cloud.group.state, w.cloud.group.waits = "Pending", time.Now().Add(40*time.Second)
	}, []string{"CONTINUE"}, 0, -1, failure.ExitDone, 1},
	"never put into the hook": {func(w *world, _ *config.Config) {
		w.cloud.group.state, w.cloud.group.waits = "Pending", time.Now().Add(time.Hour)
	}, nil, 0, -1, failure.ExitTemporary, 1},
	"metadata knows of no group": {func(w *world, _ *config.Config) { w.cloud.group.unknown = time.Now().Add(time.Hour) }, []string{"CONTINUE"}, 0, 2, failure.ExitDone, 1},
	"listed late":                {func(w *world, _ *config.Config) { w.cloud.group.unlisted = time.Now().Add(5 * time.Second) }, []string{"CONTINUE"}, 0, 5, failure.ExitDone, 1},
	"neither knows for a while": {func(w *world, _ *config.Config) {
		w.cloud.group.unlisted, w.cloud.group.unknown = time.Now().Add(30*time.Second), time.Now().Add(25*time.Second)
	}, []string{"CONTINUE"}, 0, -1, failure.ExitDone, 1},
	"listed as stopped in the pool": {func(w *world, _ *config.Config) {
		w.cloud.group.wrong, w.cloud.group.wrongly = time.Now().Add(5*time.Second), "Warmed:Stopped"
	}, []string{"CONTINUE"}, 0, 5, failure.ExitDone, 1},
	"listed as on its way into the pool": {func(w *world, _ *config.Config) {
		w.cloud.group.wrong, w.cloud.group.wrongly = time.Now().Add(5*time.Second), "Warmed:Pending:Wait"
	}, []string{"CONTINUE"}, 0, 5, failure.ExitDone, 1},
	"never listed": {func(w *world, _ *config.Config) { w.cloud.group.unlisted = time.Now().Add(time.Hour) }, nil, 0, -1, failure.ExitTemporary, 0},
	"listed wrongly for ever": {func(w *world, _ *config.Config) {
		w.cloud.group.wrong, w.cloud.group.wrongly = time.Now().Add(time.Hour), "Warmed:Stopped"
	}, nil, 0, -1, failure.ExitTemporary, 0},
	"in no group":        {func(w *world, _ *config.Config) { w.cloud.group = fakeGroup{} }, nil, 0, -1, failure.ExitDone, 1},
	"no hook configured": {func(_ *world, cfg *config.Config) { cfg.LifecycleHook = "" }, nil, 0, 0, failure.ExitDone, 1},
	"another hook": {func(w *world, cfg *config.Config) {
		cfg.LifecycleHook, w.cloud.group.hooks = "other", []string{"other"}
	}, nil, 0, -1, failure.ExitTemporary, 1},
	"a mistyped hook": {func(_ *world, cfg *config.Config) { cfg.LifecycleHook = "lanch" }, nil, 0, 1, failure.ExitUsage, 0},
	"a mistyped hook, in service": {func(w *world, cfg *config.Config) {
		w.cloud.group.state, cfg.LifecycleHook = "InService", "lanch"
	}, nil, 0, 1, failure.ExitDone, 1},
	"a hook that is listed late": {func(w *world, _ *config.Config) {
		w.cloud.group.hooks, w.cloud.group.hooked = []string{"other"}, time.Now().Add(ec2ops.NoSuchHook.Within-3*time.Second)
	}, []string{"CONTINUE"}, 0, 2, failure.ExitDone, 1},
	"the hooks may not be listed": {func(w *world, _ *config.Config) {
		w.cloud.fail = func(call string) error {
			if call == "DescribeLifecycleHooks" {
				return &ec2ops.APIError{Action: "autoscaling:DescribeLifecycleHooks", Kind: ec2ops.ErrDenied, Err: ec2ops.ErrDenied}
			}
			return nil
		}
	}, []string{"CONTINUE"}, 0, 2, failure.ExitDone, 1},
	"the hooks can't be listed": {func(w *world, _ *config.Config) {
		w.cloud.fail = func(call string) error {
			if call == "DescribeLifecycleHooks" {
				return &ec2ops.APIError{Action: "autoscaling:DescribeLifecycleHooks", Kind: ec2ops.ErrTemporary, Err: ec2ops.ErrTemporary}
			}
			return nil
		}
	}, []string{"CONTINUE"}, 0, 2, failure.ExitDone, 1},
	"in service": {func(w *world, _ *config.Config) { w.cloud.group.state = "InService" }, nil, 0, 1, failure.ExitDone, 1},
	"completed by a person": {func(w *world, _ *config.Config) {
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "CompleteLifecycleAction") {
				w.cloud.group.state = "Pending:Proceed"
			}
			return nil
		}
	}, nil, 0, 3, failure.ExitDone, 1},
	"failure for good": {func(w *world, _ *config.Config) {
		w.host.snapshotContents = mountfs.Contents{Kind: mountfs.Foreign, What: "ext4"}
	}, []string{"ABANDON"}, 0, 2, failure.ExitRefused, 0},
	"mounted, and would be left over": {func(w *world, _ *config.Config) {
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "ModifyInstanceAttribute") {
				return &ec2ops.APIError{Action: "ec2:ModifyInstanceAttribute", Kind: ec2ops.ErrDenied, Err: ec2ops.ErrDenied}
			}
			return nil
		}
	}, []string{"ABANDON"}, 0, 2, failure.ExitDenied, 0},
	"mounted, and goes with the instance": {func(w *world, _ *config.Config) {
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "CreateTags i-") {
				return &ec2ops.APIError{Action: "ec2:CreateTags", Kind: ec2ops.ErrDenied, Err: ec2ops.ErrDenied}
			}
			return nil
		}
	}, []string{"ABANDON"}, 0, 2, failure.ExitDenied, 1},
	"no snapshot": {func(w *world, _ *config.Config) { w.cloud.snapshots = nil }, []string{"ABANDON"}, 0, 2, failure.ExitNoSnapshot, 0},
	"temporary failure": {func(w *world, cfg *config.Config) {
		w.cloud.createTakes, cfg.Timeout = time.Hour, 50*time.Second
	}, nil, 3, 4, failure.ExitTemporary, 1},
}

func TestLaunchHook(t *testing.T) {
	for name, tc := range launchHookCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := inGroup()
				if tc.change != nil {
					tc.change(w, &cfg)
				}
				began := time.Now()
				result, err := w.agent.Up(t.Context(), cfg)
				if code := failure.ExitCode(err); code != tc.exit {
					t.Errorf("exit code %d (%v), want %d", code, err, tc.exit)
				}
				g := w.cloud.group
				if !slices.Equal(g.completed, tc.completed) || g.heartbeats != tc.heartbeats {
					t.Errorf("completed %v after %d heartbeats, want %v after %d; notes %v", g.completed, g.heartbeats, tc.completed, tc.heartbeats, result.Sources[0].Notes)
				}
				if n := w.cloud.autoScaling(); tc.calls >= 0 && n != tc.calls {
					t.Errorf("%d calls to Auto Scaling, want %d", n, tc.calls)
				}
				if n := len(w.cloud.live()); n != tc.volumes {
					t.Errorf("%d volumes, want %d", n, tc.volumes)
				}
				if tc.exit == failure.ExitDone {
					mustBeUp(t, w)
				}
				over := tc.exit == failure.ExitDone && g.state != "" && cfg.LifecycleHook != ""
				if r := w.host.records["codepen-app"]; (r.Hook != "") != over {
					t.Errorf("the record has the hook %q; completed %v, the instance is %s", r.Hook, g.completed, g.state)
				}
				if took := time.Since(began); name == "another hook" && took < ec2ops.OtherHook.Within {
					t.Errorf("gave up on the hook after %s, before it could be up", took)
				}
			})
		})
	}
}

// TestLetInLast: the instance is let in once it serves the Source and has its roles,
// and turned away once its volume is gone.
func TestLetInLast(t *testing.T) {
	for name, change := range map[string]func(*world){
		"CONTINUE": func(*world) {},
		"ABANDON": func(w *world) {
			w.host.snapshotContents = mountfs.Contents{Kind: mountfs.Foreign, What: "ext4"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := inGroup()
				change(w)
				completed := false
				w.cloud.fail = func(call string) error {
					switch call {
					case "CompleteLifecycleAction CONTINUE":
						completed = true
						if len(w.host.mounts) != 2 || w.cloud.instanceTags["Roles"] != "app" {
							t.Errorf("let in with the mounts %v and the tags %v", w.host.mounts, w.cloud.instanceTags)
						}
					case "CompleteLifecycleAction ABANDON":
						completed = true
						if len(w.cloud.volumes) != 0 || w.cloud.instanceTags["Roles"] != "" {
							t.Errorf("turned away with %d volumes and the tags %v", len(w.cloud.volumes), w.cloud.instanceTags)
						}
					}
					return nil
				}
				_, _ = w.agent.Up(t.Context(), cfg) // its error is TestLaunchHook's
				if !completed {
					t.Errorf("calls %v, want %s", w.cloud.calls, name)
				}
			})
		})
	}
}

func TestLaunchHookOfSeveralSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := inGroup()
		other := release("snap-shop", 1)
		other.Tags = map[string]string{ec2ops.TagName: "shop"}
		w.cloud.snapshots = append(w.cloud.snapshots, other)
		shop := config.DefaultSource()
		shop.Name, shop.Device, shop.Mount, shop.Binds = "shop", "/dev/sdg", "/shop", nil
		cfg.Sources = append(cfg.Sources, shop)
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "CompleteLifecycleAction") && w.host.mountCount() != 3 {
				t.Errorf("let in with %d mounts, want all three", w.host.mountCount())
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if got := w.cloud.group.completed; !slices.Equal(got, []string{"CONTINUE"}) || w.cloud.called("DescribeAutoScalingInstances") != 1 {
			t.Errorf("completed %v; calls %v, want one look and one CONTINUE", got, w.cloud.calls)
		}
		w.restart()
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || len(w.cloud.calls) != 0 {
			t.Errorf("second run: %v, calls %v; want none", err, w.cloud.calls)
		}
	})
}

// TestLaunchHookKilledAtEveryCall: whenever a run is killed, the next one lets the
// instance in, and none does twice.
func TestLaunchHookKilledAtEveryCall(t *testing.T) {
	for _, after := range []bool{false, true} {
		points := 0
		for k, over := 1, false; !over; k++ {
			t.Run(fmt.Sprintf("call %d/after=%v", k, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, cfg := inGroup()
					w.cloud.killAt, w.cloud.after = k, after
					_, err := w.agent.Up(t.Context(), cfg)
					if over = !w.cloud.dead; !over {
						points++
						w.restart()
						_, err = w.agent.Up(t.Context(), cfg)
					}
					if err != nil {
						t.Fatal(err)
					}
					mustBeUp(t, w)
					if got := w.cloud.group.completed; !slices.Equal(got, []string{"CONTINUE"}) {
						t.Errorf("completed %v, want CONTINUE once", got)
					}
					w.restart()
					if _, err := w.agent.Up(t.Context(), cfg); err != nil || len(w.cloud.calls) != 0 {
						t.Errorf("third run: %v, calls %v; want none", err, w.cloud.calls)
					}
				})
			})
		}
		if points < 12 {
			t.Errorf("only %d kill points were tried", points)
		}
	}
}
