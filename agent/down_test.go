package agent

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

func TestDown(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w, cfg := withRelease(), config.DefaultConfig()
			cfg.Roles.Roles = []string{"app"}
			if _, err := w.agent.Up(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			w.cloud.calls = nil
			if _, err := w.agent.Down(t.Context(), cfg, remove); err != nil {
				t.Fatal(err)
			}
			left := maps.Clone(w.cloud.instanceTags)
			if left[ec2ops.TagInstance] != theInstance.InstanceID {
				t.Errorf("the instance's own id is %q", left[ec2ops.TagInstance])
			}
			delete(left, ec2ops.TagInstance) // stays: by it a policy lets the instance remove its tags
			if len(w.host.mounts) != 0 || len(w.host.records) != 0 || len(left) != 0 {
				t.Errorf("left: mounts %v, records %v, tags %v", w.host.mounts, w.host.records, w.cloud.instanceTags)
			}
			if m := mutating(w.cloud.calls); m[0] != "DeleteTags "+theInstance.InstanceID {
				t.Errorf("calls %v, want the roles off first", m)
			}
			live := w.cloud.live()
			if remove != (len(live) == 0) {
				t.Errorf("%d volumes are left", len(live))
			}
			if !remove && live[0].State != ec2ops.VolumeAvailable {
				t.Errorf("the volume is %s", live[0].State)
			}
			// Nothing left to do, and up again works: with the same volume, or with
			// a new one although the old one's token is used up.
			if _, err := w.agent.Down(t.Context(), cfg, remove); err != nil {
				t.Errorf("down again: %v", err)
			}
			if _, err := w.agent.Up(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			mustBeUp(t, w)
		})
	}
}

// TestDownOfBusySource: what is in use stays mounted and attached.
func TestDownOfBusySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		w.host.unmountErr = map[string]error{"/cp": mountfs.ErrBusy}
		_, err := w.agent.Down(t.Context(), config.DefaultConfig(), true)
		if !errors.Is(err, mountfs.ErrBusy) || failure.ExitCode(err) != failure.ExitTemporary {
			t.Errorf("got %v, want busy", err)
		}
		if len(w.cloud.live()) != 1 || len(w.cloud.live()[0].Attachments) != 1 {
			t.Error("the volume of a mounted source was detached")
		}
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
	})
}

// TestDownAsksFirst: what is in use, and what somebody does not want deleted, keeps its roles, its
// binds and its record; so do the other sources of the run.
func TestDownAsksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := withRelease(), config.DefaultConfig()
		cfg.Roles.Roles = []string{"app"}
		second := cfg.Sources[0]
		second.Name, second.Device, second.Mount, second.Binds = "assets", "/dev/sdg", "/assets", nil
		assets := release("snap-2", 2)
		assets.Tags = map[string]string{ec2ops.TagName: "assets"}
		w.cloud.snapshots = append(w.cloud.snapshots, assets)
		cfg.Sources = append(cfg.Sources, second)
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		unchanged := func(what string) {
			t.Helper()
			if m := mutating(w.cloud.calls); len(m) != 0 || len(w.host.mounts) != 3 || len(w.host.records) != 2 {
				t.Errorf("%s: calls %v, mounts %v, records %v", what, m, w.host.mounts, w.host.records)
			}
		}
		for _, mount := range []string{"/cp", "/assets"} {
			w.host.holders = map[uint32][]string{w.host.mounts[mount]: {"puma (pid 4711)"}}
			w.cloud.calls = nil
			_, err := w.agent.Down(t.Context(), cfg, false)
			if failure.ExitCode(err) != failure.ExitTemporary || !strings.Contains(err.Error(), mount) || !strings.Contains(err.Error(), "is used by puma (pid 4711); nothing is changed") {
				t.Errorf("%s is in use: %v", mount, err)
			}
			unchanged(mount + " is in use")
		}
		w.host.holders = nil
		no := errors.New("no")
		var asked []string
		w.agent.Confirm = func(_ context.Context, source string, volumes []ec2ops.Volume) error {
			asked = append(asked, source+" "+volumes[0].SnapshotID)
			return no
		}
		if _, err := w.agent.Down(t.Context(), cfg, true); !errors.Is(err, no) || len(asked) != 2 || asked[0] != "codepen-app snap-1" {
			t.Errorf("not confirmed: %v, asked for %q", err, asked)
		}
		unchanged("not confirmed")
		if _, err := w.agent.Down(t.Context(), cfg, false); err != nil || len(w.host.mounts) != 0 || len(asked) != 2 {
			t.Errorf("without --delete: %v, asked for %q", err, asked)
		}
	})
}

// TestDownBeforeItIsListed: a volume that EC2's lists do not show yet is taken down too.
func TestDownBeforeItIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		w.cloud.live()[0].invisible = time.Now().Add(time.Hour)
		if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), true); err != nil {
			t.Fatal(err)
		}
		if len(w.cloud.live()) != 0 || len(w.host.mounts) != 0 {
			t.Errorf("left: %d volumes, mounts %v", len(w.cloud.live()), w.host.mounts)
		}
	})
}
