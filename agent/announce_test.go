package agent

import (
	"strings"
	"testing"
	"testing/synctest"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// TestRolesOnlyOnceMounted: the role tags are the last thing that happens, after
// the mount, and not while another source is missing.
func TestRolesOnlyOnceMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		cfg := config.DefaultConfig()
		cfg.Roles.Roles = []string{"app"}
		shop := config.DefaultSource()
		shop.Name, shop.Device, shop.Mount, shop.Binds = "shop", "/dev/sdg", "/shop", nil
		cfg.Sources = append(cfg.Sources, shop)
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "CreateTags i-") && w.host.mountCount() < 3 {
				t.Errorf("roles were put on with only %d mounted", w.host.mountCount())
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), cfg); failure.ExitCode(err) != failure.ExitNoSnapshot {
			t.Fatalf("got %v, want no snapshot of shop", err)
		}
		if len(w.cloud.instanceTags) != 0 {
			t.Errorf("tags %v although shop is not mounted", w.cloud.instanceTags)
		}
		snapshot := release("snap-shop", 1)
		snapshot.Tags[ec2ops.TagName] = "shop"
		w.cloud.snapshots = append(w.cloud.snapshots, snapshot)
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if got := w.cloud.instanceTags["Roles"]; got != "app" {
			t.Errorf("Roles=%q, want app", got)
		}
		// Who asks without naming the roles finds everything as it should be.
		plain := cfg
		plain.Roles = config.DefaultConfig().Roles
		if result, err := w.agent.Status(t.Context(), plain, StatusOptions{}); err != nil || result.Sources[0].State != report.StateReady {
			t.Errorf("status without the roles: %v, %v; want ready", result.Sources[0].State, err)
		}
		// A new role is put on without mounting anything again.
		w.cloud.calls = nil
		cfg.Roles.Roles = append(cfg.Roles.Roles, "cron")
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if got := w.cloud.instanceTags["Roles"]; got != "app,cron" {
			t.Errorf("Roles=%q, want app,cron", got)
		}
		if m := mutating(w.cloud.calls); len(m) != 1 {
			t.Errorf("calls %v, want the tag only", m)
		}
	})
}
