package agenttest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// TestBoot: the whole of a boot, from metadata to mounts, with the real client, takes
// the seconds that EC2 takes by the virtual clock and none by ours.
func TestBoot(t *testing.T) {
	before := time.Now()
	synctest.Test(t, func(t *testing.T) {
		cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
		snapshot := cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
		web := cloud.Start("web-1")
		begin := time.Now()
		result, err := web.Agent().Up(t.Context(), config.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		if took < 2*time.Second || took > 20*time.Second {
			t.Errorf("ready after %s; a volume alone takes 1.5 s, its attachment 1 s", took)
		}
		r := result.Sources[0]
		if r.Snapshot != snapshot || r.State != report.StateReady || r.Instance != web.ID {
			t.Errorf("report %+v, want ready on %s from %s", r, web.ID, snapshot)
		}
		for _, target := range []string{"/cp", "/home/deploy/codepen"} {
			if got := web.MountedAt(target); got != r.Volume {
				t.Errorf("%q is mounted at %s, want %s", got, target, r.Volume)
			}
		}
		calls := len(cloud.Calls())
		web.Reboot()
		if got := web.MountedAt("/cp"); got != "" {
			t.Errorf("%s is mounted after a reboot", got)
		}
		if _, err := web.Agent().Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		for _, c := range cloud.Calls()[calls:] {
			if c.Mutating() {
				t.Errorf("a boot after a reboot calls %s", c.Action)
			}
		}
		if got := web.MountedAt("/cp"); got != r.Volume {
			t.Errorf("%q is mounted after the boot, want %s", got, r.Volume)
		}
	})
	if took := time.Since(before); took > 10*time.Second {
		t.Errorf("took %s of real time", took)
	}
}

// TestMountedBeforeItIsListed: a launch has its volume by the client token of a killed
// one, and is killed itself once it has mounted it. EC2's lists do not show the volume
// yet; the next run goes on with it all the same.
func TestMountedBeforeItIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := agenttest.New(t, ec2test.Options{Seed: 1, Visibility: 5 * time.Second})
		cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
		time.Sleep(time.Minute) // the snapshot is listed
		web := cloud.Start("web-1")
		var result report.Report
		for _, moment := range []string{"after CreateVolume", "after bind", ""} {
			err := web.Run(t.Context(), func(m string) bool { return m == moment }, func(ctx context.Context, a *agenttest.Program) (err error) {
				result, err = a.Up(ctx, config.DefaultConfig())
				return err
			})
			if killed := errors.Is(err, agenttest.ErrKilled); killed != (moment != "") || !killed && err != nil {
				t.Fatalf("to be killed %q, and the end is: %v", moment, err)
			}
		}
		created := 0
		for _, c := range cloud.Calls() {
			if c.Action == "CreateVolume" {
				created++
			}
		}
		if volume := result.Sources[0].Volume; created != 2 || web.MountedAt("/cp") != volume || web.MountedAt("/home/deploy/codepen") != volume {
			t.Errorf("CreateVolume %d times, want 2; %q is mounted, and reported %+v", created, web.MountedAt("/cp"), result.Sources[0])
		}
	})
}
