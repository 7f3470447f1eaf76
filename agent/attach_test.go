package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// TestMountedBeforeEC2SaysAttached: what a snapshot holds is mounted as soon as the kernel
// shows it; nothing is announced before EC2 says attached.
func TestMountedBeforeEC2SaysAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.attachTakes = 10 * time.Second
		cfg := config.DefaultConfig()
		cfg.Roles.Roles = []string{"app"}
		var asked, mounted time.Time
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "AttachVolume") {
				asked = time.Now()
			}
			if after := time.Since(asked); strings.HasPrefix(call, "CreateTags i-") && after < w.cloud.attachTakes {
				t.Errorf("roles %s after the attachment was asked for, which takes %s", after, w.cloud.attachTakes)
			}
			return nil
		}
		w.agent.Events = func(e report.Event) {
			if e.Step == report.Mount && e.Phase == report.Done {
				mounted = e.At
			}
		}
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		if after := mounted.Sub(asked); after > time.Second {
			t.Errorf("mounted %s after the attachment was asked for, and the device was there at once", after)
		}
	})
}

// TestBlankWaitsForEC2: what may be formatted is not looked at before EC2 says attached.
func TestBlankWaitsForEC2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.cloud.attachTakes = 10 * time.Second
		var asked, inspected time.Time
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "AttachVolume") {
				asked = time.Now()
			}
			return nil
		}
		w.agent.Events = func(e report.Event) {
			if e.Step == report.Inspect && e.Phase == report.Started {
				inspected = e.At
			}
		}
		if _, err := w.agent.Up(t.Context(), initConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		if after := inspected.Sub(asked); after < w.cloud.attachTakes {
			t.Errorf("inspected %s after the attachment was asked for, which takes %s", after, w.cloud.attachTakes)
		}
	})
}

// TestNeverAttached: EC2 never says attached although the file system could be mounted.
// Nothing is announced; it is unmounted and detached, and the next run goes on with the
// volume.
func TestNeverAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.attachTakes = 24 * time.Hour
		cfg := config.DefaultConfig()
		cfg.Roles.Roles = []string{"app"}
		_, err := w.agent.Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitTemporary {
			t.Fatalf("got %v, want a temporary failure", err)
		}
		if len(w.host.mounts) != 0 || len(w.cloud.instanceTags) != 0 {
			t.Errorf("mounts %v and tags %v are left", w.host.mounts, w.cloud.instanceTags)
		}
		if v := w.cloud.live()[0]; v.State != ec2ops.VolumeAvailable {
			t.Errorf("the volume is %s, want available", v)
		}
		w.restart()
		w.cloud.attachTakes = time.Second
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
		if slices.ContainsFunc(w.cloud.calls, func(c string) bool { return strings.HasPrefix(c, "CreateVolume") }) {
			t.Errorf("a second volume: %v", w.cloud.calls)
		}
	})
}
