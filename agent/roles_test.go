package agent

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"snapsource/ec2ops"
)

func rolesOf(roles, stages []string, project string) Roles {
	r := DefaultConfig().Roles
	r.Roles, r.Stages, r.Project = roles, stages, project
	return r
}

func TestPutAndTakeOffRoles(t *testing.T) {
	ours := rolesOf([]string{"app", "web"}, []string{"production"}, "codepen")
	for name, tc := range map[string]struct {
		have, after, down map[string]string
	}{
		"nothing there": {
			have:  map[string]string{"Name": "web-1"},
			after: map[string]string{"Name": "web-1", "Roles": "app,web", "Stages": "production", "Project": "codepen"},
			down:  map[string]string{"Name": "web-1"},
		},
		"others' roles stay": {
			have:  map[string]string{"Roles": "db, cron"},
			after: map[string]string{"Roles": "db,cron,app,web", "Stages": "production", "Project": "codepen"},
			down:  map[string]string{"Roles": "db,cron", "Stages": "production", "Project": "codepen"},
		},
		"some are there": {
			have:  map[string]string{"Roles": "web,db", "Stages": "production", "Project": "codepen"},
			after: map[string]string{"Roles": "web,db,app", "Stages": "production", "Project": "codepen"},
			down:  map[string]string{"Roles": "db", "Stages": "production", "Project": "codepen"},
		},
		"parts of Stages and Project are others'": {
			have:  map[string]string{"Stages": "staging, canary", "Project": "codepen"},
			after: map[string]string{"Roles": "app,web", "Stages": "staging,canary,production", "Project": "codepen"},
			down:  map[string]string{"Stages": "staging,canary"},
		},
		"all are there": {
			have:  map[string]string{"Roles": "app,web", "Stages": "production", "Project": "codepen"},
			after: map[string]string{"Roles": "app,web", "Stages": "production", "Project": "codepen"},
			down:  map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tags := maps.Clone(tc.have)
			maps.Copy(tags, ours.put(tags))
			if !maps.Equal(tags, tc.after) {
				t.Errorf("put: %v, want %v", tags, tc.after)
			}
			again := maps.Clone(tags)
			if maps.Copy(again, ours.put(tags)); !maps.Equal(again, tags) {
				t.Errorf("put again: %v", again)
			}
			set, remove := ours.takeOff(tags)
			maps.Copy(tags, set)
			maps.DeleteFunc(tags, func(k, _ string) bool { return removed(remove, k) })
			if !maps.Equal(tags, tc.down) {
				t.Errorf("take off: %v, want %v", tags, tc.down)
			}
		})
	}
}

func removed(remove map[string]string, key string) bool { _, is := remove[key]; return is }

// TestRolesOnlyOnceMounted: the role tags are the last thing that happens, after
// the mount, and not while another source is missing.
func TestRolesOnlyOnceMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		cfg := DefaultConfig()
		cfg.Roles.Roles = []string{"app"}
		shop := DefaultSource()
		shop.Name, shop.Device, shop.Mount, shop.Binds = "shop", "/dev/sdg", "/shop", nil
		cfg.Sources = append(cfg.Sources, shop)
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "CreateTags i-") && len(w.host.mounts) < 3 {
				t.Errorf("roles were put on with only %v mounted", w.host.mounts)
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), cfg); ExitCode(err) != ExitNoSnapshot {
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
		plain.Roles = DefaultConfig().Roles
		if report, err := w.agent.Status(t.Context(), plain); err != nil || report.Sources[0].State != StateReady {
			t.Errorf("status without the roles: %v, %v; want ready", report.Sources[0].State, err)
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
