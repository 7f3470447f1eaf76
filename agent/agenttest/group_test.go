package agenttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
	"snapsource/mountfs"
)

// grouped is EC2 with a release and a group "web" whose hook waits for a minute.
func grouped(t *testing.T, desired int64, pool *ec2test.WarmPool) (*agenttest.Cloud, config.Config, string) {
	cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
	release := cloud.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-time.Hour), Tags: ec2test.Tags{"Name": source}})
	cloud.AddGroup(ec2test.Group{Name: "web", Desired: desired, Max: 4, Pool: pool, Hooks: map[string]ec2test.Hook{"launch": {Timeout: time.Minute}}})
	cfg := config.DefaultConfig()
	cfg.Roles.Roles, cfg.LifecycleHook = []string{"app"}, "launch"
	return cloud, cfg, release
}

// states are those of the group's members: "web-1 InService, …".
func states(cloud *agenttest.Cloud) string {
	var all []string
	for _, m := range cloud.World().Groups["web"].Members {
		all = append(all, m.Name+" "+m.Lifecycle())
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// sources are the volumes of the source that are not gone, by their instance's name.
func sources(cloud *agenttest.Cloud) map[string]*ec2test.Volume {
	all := map[string]*ec2test.Volume{}
	w := cloud.World()
	for _, v := range w.Volumes {
		if state := v.State(time.Now()); v.Tags[ec2ops.TagSource] == source && state != "" && state != "deleting" {
			all[w.Instances[v.Tags[ec2ops.TagInstance]].Name] = v
		}
	}
	return all
}

func completions(cloud *agenttest.Cloud) (results []string) {
	for _, c := range cloud.Mutations() {
		if c.Action == "CompleteLifecycleAction" {
			results = append(results, c.Caller+" "+c.Params["LifecycleActionResult"])
		}
	}
	return results
}

func wantStates(t *testing.T, cloud *agenttest.Cloud, want string) {
	t.Helper()
	if got := states(cloud); got != want {
		t.Errorf("the group is %q, want %q", got, want)
	}
}

// TestGroupOfThree: three launches are let in, each once and by itself.
func TestGroupOfThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, cfg, _ := grouped(t, 3, nil)
		failures := make(chan error)
		for n := range 3 {
			web := cloud.Join(fmt.Sprintf("web-%d", n+1))
			go func() {
				_, err := web.Agent().Up(t.Context(), cfg)
				failures <- err
			}()
		}
		for range 3 {
			if err := <-failures; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Second)
		wantStates(t, cloud, "web-1 InService, web-2 InService, web-3 InService")
		got := completions(cloud)
		slices.Sort(got)
		if want := []string{"web-1 CONTINUE", "web-2 CONTINUE", "web-3 CONTINUE"}; !slices.Equal(got, want) {
			t.Errorf("completions %v, want %v", got, want)
		}
		if n := len(sources(cloud)); n != 3 {
			t.Errorf("%d volumes, want 3", n)
		}
	})
}

// TestForeignRelease: an instance whose release is no file system of ours goes, with its
// volume, and the next one takes its place.
func TestForeignRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, cfg, release := grouped(t, 1, nil)
		cloud.Disks.SetSnapshot(release, mountfs.Contents{Kind: mountfs.Foreign, What: "ext4"})
		result, err := cloud.Join("web-1").Agent().Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitRefused {
			t.Errorf("got %v, want a refusal", err)
		}
		notes := strings.Join(result.Sources[0].Notes, "; ")
		if !strings.Contains(notes, "web terminates and replaces it") {
			t.Errorf("notes %q, want one that says it is abandoned", notes)
		}
		time.Sleep(10 * time.Second)
		wantStates(t, cloud, "web-2 Pending:Wait")
		if left := sources(cloud); len(left) != 0 || !slices.Equal(completions(cloud), []string{"web-1 ABANDON"}) {
			t.Errorf("volumes %v, completions %v; want none, and web-1 ABANDON", left, completions(cloud))
		}
	})
}

// TestLaunchKilled: a launch that is killed, and not run again, is replaced when the hook
// times out. One that is run again in time is not.
func TestLaunchKilled(t *testing.T) {
	for name, tc := range map[string]struct {
		again bool
		want  string
	}{"for good": {false, "web-2 Pending:Wait"}, "and run again": {true, "web-1 InService"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud, cfg, _ := grouped(t, 1, nil)
				web := cloud.Join("web-1")
				up := func(ctx context.Context, a *agenttest.Program) error { _, err := a.Up(ctx, cfg); return err }
				killed := web.Run(t.Context(), func(moment string) bool { return moment == "before CompleteLifecycleAction" }, up)
				if !errors.Is(killed, agenttest.ErrKilled) {
					t.Fatalf("not killed: %v", killed)
				}
				if tc.again {
					time.Sleep(30 * time.Second)
					if err := web.Run(t.Context(), nil, up); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(62 * time.Second)
				states(cloud) // it is seen to have timed out
				time.Sleep(8 * time.Second)
				wantStates(t, cloud, tc.want)
				if _, has := sources(cloud)["web-1"]; has != tc.again {
					t.Errorf("web-1 has a volume: %v, want %v", has, tc.again)
				}
			})
		})
	}
}

// TestStoppedInPool: a deployment passes by while an instance is stopped in a warm pool;
// it enters service with the newer release.
func TestStoppedInPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, cfg, release := grouped(t, 0, &ec2test.WarmPool{State: "Stopped", Reaches: 1})
		web := cloud.Join("web-1")
		time.Sleep(2 * time.Second)
		wantStates(t, cloud, "web-1 Warmed:Pending:Wait")
		if _, err := web.Agent().Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		wantStates(t, cloud, "web-1 Warmed:Stopped")
		warmed := sources(cloud)["web-1"]
		if roles := cloud.World().Instances[web.ID].Tags["Roles"]; roles != "" || warmed == nil || warmed.SnapshotID != release {
			t.Fatalf("in the pool: roles %q, volume %+v", roles, warmed)
		}
		newer := cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": source}})
		time.Sleep(time.Hour)
		web.Reboot()
		cloud.Scale("web", 1)
		wantStates(t, cloud, "web-1 Pending")
		time.Sleep(2 * time.Second)
		if _, err := web.Agent().Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		wantStates(t, cloud, "web-1 InService")
		v := sources(cloud)["web-1"]
		if v == nil || v.SnapshotID != newer || web.MountedAt("/cp") != v.ID || cloud.World().Instances[web.ID].Tags["Roles"] != "app" {
			t.Errorf("serves %+v, want one from %s, with its role", v, newer)
		}
		if got := completions(cloud); !slices.Equal(got, []string{"web-1 CONTINUE", "web-1 CONTINUE"}) {
			t.Errorf("completions %v, want CONTINUE for the pool, and for the service", got)
		}
	})
}
