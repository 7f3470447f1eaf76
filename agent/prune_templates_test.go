package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

// templates is an account's launch templates.
type templates struct {
	all      []ec2ops.Template
	versions []ec2ops.TemplateVersion
	groups   []ec2ops.TemplateGroup
	err      error
}

func (l templates) Templates(context.Context) ([]ec2ops.Template, error) { return l.all, l.err }

func (l templates) TemplateVersions(context.Context, string) ([]ec2ops.TemplateVersion, error) {
	return l.versions, nil
}

func (l templates) TemplateGroups(context.Context) ([]ec2ops.TemplateGroup, error) {
	return l.groups, nil
}

// TestPruneKeepsNamed: no instance could be launched from a template that names a deleted snapshot.
func TestPruneKeepsNamed(t *testing.T) {
	naming := func(id string) ec2ops.TemplateVersion {
		return ec2ops.TemplateVersion{Mappings: []ec2ops.TemplateMapping{{Volume: &ec2ops.TemplateVolume{SnapshotID: id}}, {}}}
	}
	numbered := func(n int64, v ec2ops.TemplateVersion) ec2ops.TemplateVersion { v.Number = n; return v }
	temporary := fmt.Errorf("%w: throttled", ec2ops.ErrTemporary)
	for name, tc := range map[string]struct {
		templates releases.Templates
		left      []string
		err       error
	}{
		"none":          {templates{}, []string{"snap-3"}, nil},
		"by default":    {templates{all: []ec2ops.Template{{Name: "web", Default: naming("snap-1"), Latest: naming("snap-3")}}}, []string{"snap-1", "snap-3"}, nil},
		"by the latest": {templates{all: []ec2ops.Template{{Name: "web", Default: naming("snap-3"), Latest: naming("snap-2")}}}, []string{"snap-2", "snap-3"}, nil},
		"by a group's number": {templates{
			all:      []ec2ops.Template{{ID: "lt-1", Name: "web", Default: naming("snap-3"), Latest: naming("snap-3")}},
			versions: []ec2ops.TemplateVersion{numbered(1, naming("snap-1")), numbered(2, naming("snap-2"))},
			groups:   []ec2ops.TemplateGroup{{Name: "pin", TemplateID: "lt-1", Version: "2"}, {Name: "follows", TemplateID: "lt-1", Version: "$Default"}, {Name: "other", TemplateID: "lt-2", Version: "1"}},
		}, []string{"snap-2", "snap-3"}, nil},
		"may not be listed":   {templates{err: ec2ops.ErrDenied}, []string{"snap-3"}, nil},
		"can't be listed now": {templates{err: temporary}, []string{"snap-1", "snap-2", "snap-3"}, ec2ops.ErrTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.cloud.snapshots = []ec2ops.Snapshot{release("snap-1", 1), release("snap-2", 2), release("snap-3", 3)}
			list, err := releases.Prune(t.Context(), w.cloud, "codepen-app", releases.PruneOptions{Keep: 1, Templates: tc.templates}, time.Now())
			if !errors.Is(err, tc.err) {
				t.Fatal(err)
			}
			var left []string
			for _, s := range w.cloud.snapshots {
				left = append(left, s.ID)
			}
			if !slices.Equal(left, tc.left) {
				t.Errorf("left are %v, want %v: %+v", left, tc.left, list)
			}
			for _, p := range list {
				if slices.Contains(tc.left, p.ID) != (p.Kept != "") {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}
