package config

import (
	"maps"
	"testing"
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
			maps.Copy(tags, ours.Put(tags, Roles{}))
			if !maps.Equal(tags, tc.after) {
				t.Errorf("put: %v, want %v", tags, tc.after)
			}
			again := maps.Clone(tags)
			if maps.Copy(again, ours.Put(tags, Roles{})); !maps.Equal(again, tags) {
				t.Errorf("put again: %v", again)
			}
			set, remove := ours.Remove(tags)
			maps.Copy(tags, set)
			maps.DeleteFunc(tags, func(k, _ string) bool { return removed(remove, k) })
			if !maps.Equal(tags, tc.down) {
				t.Errorf("take off: %v, want %v", tags, tc.down)
			}
		})
	}
}

func removed(remove map[string]string, key string) bool { _, is := remove[key]; return is }
