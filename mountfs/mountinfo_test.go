package mountfs

import (
	"testing"
)

func TestMountAt(t *testing.T) {
	mounts := []Mount{
		{ID: 3, Parent: 2, Target: "/cp", Source: "top"},
		{ID: 1, Parent: 1, Target: "/", Source: "root"},
		{ID: 2, Parent: 1, Target: "/cp", Source: "under"},
		{ID: 4, Parent: 3, Target: "/cp/x", Source: "inside"},
		{ID: 5, Parent: 1, Target: "/srv", Source: "first"},
		{ID: 6, Parent: 5, Target: "/srv", Source: "last"},
		{ID: 7, Parent: 1, Target: "/home/deploy/codepen", Source: "hidden by /home"},
		{ID: 8, Parent: 1, Target: "/home", Source: "home"},
		{ID: 9, Parent: 8, Target: "/home/web", Source: "inside home"},
		{ID: 10, Parent: 7, Target: "/home/deploy/codepen/x", Source: "inside the hidden one"},
		{ID: 11, Parent: 1, Target: "/opt", Source: "under"},
		{ID: 12, Parent: 11, Target: "/opt/a", Source: "on the lower one"},
		{ID: 13, Parent: 11, Target: "/opt", Source: "over both"},
	}
	for target, want := range map[string]string{"/cp": "top", "/": "root", "/cp/x": "inside", "/srv": "last", "/c": "",
		"/home/deploy/codepen": "", "/home/web": "inside home", "/home/deploy/codepen/x": "", "/opt/a": "", "/opt": "over both",
	} {
		if m, ok := MountAt(mounts, target); ok != (want != "") || ok && m.Source != want {
			t.Errorf("%s: %+v, %v", target, m, ok)
		}
	}
}
