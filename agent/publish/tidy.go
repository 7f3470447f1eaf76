package publish

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// tidyTimeout bounds what follows a publication: its failure is only a note.
const tidyTimeout = 30 * time.Second

// tidy finds the groups that do not follow, and deletes old versions of ours. A failure is a note:
// what launches use is as it is to be.
func (p *publication) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
	groups, err := p.cloud.TemplateGroups(ctx)
	if err != nil {
		p.note("whether an Auto Scaling group uses a version by its number is not known, so no old version is deleted: " + failure.Line(err))
		return
	}
	p.out.Pinned = pinned(groups, p.seen.template)
	if !p.out.Changed && !p.isLeftOver(p.seen.template.Latest) {
		return
	}
	versions, err := p.cloud.TemplateVersions(ctx, p.out.ID)
	if err != nil {
		p.note("old versions are not deleted: " + failure.Line(err))
		return
	}
	old := p.superfluous(versions)
	if p.o.DryRun {
		p.out.Deleted = append(p.out.Deleted, old...)
		return
	}
	for some := range slices.Chunk(old, ec2ops.DeleteVersionsMax) {
		if err := p.cloud.DeleteTemplateVersions(ctx, p.out.ID, some); err != nil {
			p.note("old versions are not deleted: " + failure.Line(err))
			return
		}
		p.out.Deleted = append(p.out.Deleted, some...)
		p.out.Changed = true
	}
}

func (p *publication) note(text string) { p.out.Notes = append(p.out.Notes, text) }

// pinned returns the groups that use a template by a version's number.
func pinned(groups []ec2ops.TemplateGroup, t ec2ops.Template) []Pinned {
	all := []Pinned{}
	for _, g := range groups {
		if use := (Pinned{g.Name, g.Version}); g.Uses(t) && g.Version != "$Default" && g.Version != "$Latest" && !slices.Contains(all, use) {
			all = append(all, use)
		}
	}
	return all
}

// isLeftOver reports whether a version is what a publication that was killed has left above the
// default version, with an older snapshot of the source: groups with $Latest would use it.
func (p *publication) isLeftOver(v ec2ops.TemplateVersion) bool {
	if p.o.Latest || !isForDefault(v) || v.Number <= p.seen.template.Default.Number || time.Since(v.Created) < inFlight {
		return false
	}
	mine := p.seen.isOurs(pairsOf(v))
	return !slices.ContainsFunc(v.Mappings, func(m ec2ops.TemplateMapping) bool { return mine(m) && m.Volume.SnapshotID == p.seen.newest.ID })
}

// superfluous returns the versions of ours beyond those that stay, and those that are left over.
// None of them is the default or the latest version, is one that a group uses by its number, or was
// made by anybody else.
func (p *publication) superfluous(versions []ec2ops.TemplateVersion) (old []int64) {
	sort.SliceStable(versions, func(i, j int) bool { return versions[i].Number > versions[j].Number })
	kept := 0
	if p.o.DryRun && p.out.Version == 0 {
		kept = 1 // the new one
	}
	for i, v := range versions {
		isPinned := slices.ContainsFunc(p.out.Pinned, func(use Pinned) bool { return use.Version == strconv.FormatInt(v.Number, 10) })
		switch {
		case !madeByUs(v):
		case p.isLeftOver(v) && !isPinned && !v.Default:
			old = append(old, v.Number)
		case kept < p.o.Keep:
			kept++
		case !v.Default && i > 0 && !isPinned && v.Number != p.out.Version:
			old = append(old, v.Number)
		}
	}
	return old
}

// Naming is a launch template that names a snapshot of a source which is not the one to launch.
type Naming struct {
	Template string `json:"template"`
	Name     string `json:"name"`
	Snapshot string `json:"snapshot"`
	// OnlyLatest says that the latest version names it, not the default one.
	OnlyLatest bool `json:"only_latest"`
}

// Command is what has the template name the newest eligible snapshot.
func (n Naming) Command(source string) string {
	command := "snapsource publish --launch-template " + n.Name + " --source " + source
	if n.OnlyLatest {
		command += " --set-default=false"
	}
	return command
}

// Lister lists launch templates. *ec2ops.Client implements it.
type Lister interface {
	Templates(ctx context.Context) ([]ec2ops.Template, error)
}

// listTimeout bounds the search for templates: it only adds a hint.
const listTimeout = 10 * time.Second

// NamingOthers lists the launch templates that name one of these snapshots, or by their tags another
// snapshot of the source than next, which a launch takes now.
func NamingOthers(ctx context.Context, cloud Lister, source, next string, these ...string) ([]Naming, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	templates, err := cloud.Templates(ctx)
	if err != nil {
		return nil, fmt.Errorf("search for launch templates that name another snapshot: %w", err)
	}
	found := []Naming{}
	for _, t := range templates {
		for _, v := range []ec2ops.TemplateVersion{t.Default, t.Latest} {
			if id := namesOther(v, source, next, these); id != "" {
				found = append(found, Naming{t.ID, t.Name, id, !v.Default})
				break
			}
		}
	}
	return found, nil
}

// namesOther returns the snapshot for which a version is listed; "" if it is not.
func namesOther(v ec2ops.TemplateVersion, source, next string, these []string) string {
	tagged := pairsOf(v)
	for _, m := range v.Mappings {
		if m.Volume == nil || m.Volume.SnapshotID == "" || m.Volume.SnapshotID == next {
			continue
		}
		if id := m.Volume.SnapshotID; tagged[source] == id || slices.Contains(these, id) {
			return id
		}
	}
	return ""
}
