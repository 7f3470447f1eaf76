package mountfs

import (
	"testing"
)

func TestMountAtStacked(t *testing.T) {
	mounts := []Mount{
		{ID: 3, Parent: 2, Target: "/cp", Source: "top"},
		{ID: 1, Parent: 1, Target: "/", Source: "root"},
		{ID: 2, Parent: 1, Target: "/cp", Source: "under"},
		{ID: 4, Parent: 3, Target: "/cp/x", Source: "inside"},
		{ID: 5, Parent: 1, Target: "/srv", Source: "first"},
		{ID: 6, Parent: 5, Target: "/srv", Source: "last"},
	}
	for target, want := range map[string]string{"/cp": "top", "/": "root", "/cp/x": "inside", "/srv": "last", "/c": ""} {
		if m, ok := MountAt(mounts, target); m.Source != want || ok != (want != "") {
			t.Errorf("%s: %+v, %v", target, m, ok)
		}
	}
}
