package releases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// PruneOptions say what [Prune] may delete.
type PruneOptions struct {
	Keep   int // number of newest eligible snapshots to keep; at least 1
	Floor  int // never leave fewer eligible snapshots than this
	DryRun bool
	// Templates, when set, are searched for the snapshots that are to be deleted: from a launch
	// template that names a deleted snapshot no instance can be launched. Without the permission to
	// list them, nothing is searched.
	Templates Templates
	// Confirm, when set, is called before anything is deleted. Its error ends Prune.
	Confirm func([]Pruned) error
}

// Pruned is one thing that [Prune] deletes, or would delete.
type Pruned struct {
	ID      string        `json:"-"`
	Reason  string        `json:"reason"`
	Age     time.Duration `json:"age_ns"`
	SizeGiB int32         `json:"size_gib"`
	Deleted bool          `json:"deleted"`
	Kept    string        `json:"kept,omitempty"` // why EC2 does not delete it; that is no error
}

// Templates lists launch templates, and the groups that use them. *ec2ops.Client implements it.
type Templates interface {
	Templates(ctx context.Context) ([]ec2ops.Template, error)
	TemplateVersions(ctx context.Context, id string) ([]ec2ops.TemplateVersion, error)
	TemplateGroups(ctx context.Context) ([]ec2ops.TemplateGroup, error)
}

// orphanAge is the minimum age of an orphaned volume: EC2 is eventually consistent, and may
// not list a new instance for minutes.
const orphanAge = 15 * time.Minute

// Prune deletes what a source no longer needs: all but the newest eligible snapshots, older
// rejected snapshots, and volumes of instances that no longer exist. It leaves a snapshot that
// something else needs. After an error it continues, but not with what it may not delete; it
// returns all errors.
func Prune(ctx context.Context, cloud Cloud, source string, o PruneOptions, now time.Time) ([]Pruned, error) {
	snapshots, err := All(ctx, cloud, source)
	if err != nil {
		return nil, err
	}
	volumes, err := cloud.VolumesOf(ctx, source)
	if err != nil {
		return nil, err
	}
	var owners []string
	for _, v := range volumes {
		if id := v.Tags[ec2ops.TagInstance]; id != "" && !slices.Contains(owners, id) {
			owners = append(owners, id)
		}
	}
	alive, err := cloud.Alive(ctx, owners)
	if err != nil {
		return nil, err
	}
	old := oldSnapshots(source, snapshots, volumes, o, now)
	if err := keepNamed(ctx, o.Templates, old); err != nil {
		return nil, err
	}
	list := append(old, orphans(source, volumes, alive, now)...)
	if o.DryRun {
		return list, nil
	}
	if o.Confirm != nil {
		if err := o.Confirm(list); err != nil {
			return list, err
		}
	}
	var errs []error
	denied := map[bool]bool{} // to delete snapshots, volumes: another call would only take its time
	for i, p := range list {
		remove, snapshot := cloud.DeleteVolume, slices.ContainsFunc(snapshots, func(s ec2ops.Snapshot) bool { return s.ID == p.ID })
		if snapshot {
			remove = cloud.DeleteSnapshot
		}
		if denied[snapshot] || p.Kept != "" {
			continue
		}
		err := remove(ctx, p.ID)
		if list[i].Kept = kept(err); list[i].Kept != "" {
			continue
		}
		denied[snapshot] = errors.Is(err, ec2ops.ErrDenied)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list[i].Deleted = true
	}
	return list, failure.Several(errs...)
}

// keepNamed notes for each snapshot that a launch template names, by its default or latest version or
// one that an Auto Scaling group uses by its number, that it is kept.
func keepNamed(ctx context.Context, cloud Templates, old []Pruned) error {
	if cloud == nil || len(old) == 0 {
		return nil
	}
	templates, err := cloud.Templates(ctx)
	if errors.Is(err, ec2ops.ErrDenied) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("search for launch templates that name a snapshot: %w", err)
	}
	for _, t := range templates {
		keep(old, t.Name, t.Default, t.Latest)
	}
	if len(templates) == 0 {
		return nil
	}
	groups, err := cloud.TemplateGroups(ctx)
	if errors.Is(err, ec2ops.ErrDenied) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("search for Auto Scaling groups that use a version of a launch template: %w", err)
	}
	for _, t := range templates {
		if err := keepPinned(ctx, cloud, old, t, groups); err != nil {
			return err
		}
	}
	return nil
}

// keepPinned is keepNamed for the versions of a template that groups use by their number.
func keepPinned(ctx context.Context, cloud Templates, old []Pruned, t ec2ops.Template, groups []ec2ops.TemplateGroup) error {
	pinned := map[int64]bool{}
	for _, g := range groups {
		number, err := strconv.ParseInt(g.Version, 10, 64)
		if err == nil && g.Uses(t) && number != t.Default.Number && number != t.Latest.Number {
			pinned[number] = true
		}
	}
	if len(pinned) == 0 {
		return nil
	}
	versions, err := cloud.TemplateVersions(ctx, t.ID)
	if err != nil {
		return fmt.Errorf("list the versions of the launch template %s: %w", t.Name, err)
	}
	for _, v := range versions {
		if pinned[v.Number] {
			keep(old, t.Name, v)
		}
	}
	return nil
}

// keep notes for each snapshot that a version of a template names that it is kept.
func keep(old []Pruned, template string, versions ...ec2ops.TemplateVersion) {
	for _, v := range versions {
		for _, m := range v.Mappings {
			for i := range old {
				if m.Volume != nil && m.Volume.SnapshotID == old[i].ID {
					old[i].Kept = fmt.Sprintf("the launch template %s names it, in version %d", template, v.Number)
				}
			}
		}
	}
}

// kept says why EC2 does not delete a snapshot that something else needs; "" for other errors.
func kept(err error) string {
	api, ok := errors.AsType[*ec2ops.APIError](err)
	if !ok || !errors.Is(err, ec2ops.ErrNeeded) {
		return ""
	}
	return cmp.Or(api.Message, api.Code)
}

// oldSnapshots decides which snapshots to delete: releases, rejected ones, and copies that [Copy] left
// behind. It keeps the newest eligible ones, at least one; everything newer than the oldest of them, even if
// pending, a candidate or rejected; the snapshot of a volume that is being created; and archived snapshots.
func oldSnapshots(source string, all []ec2ops.Snapshot, volumes []ec2ops.Volume, o PruneOptions, now time.Time) []Pruned {
	keep := max(o.Keep, o.Floor, 1)
	var eligible []ec2ops.Snapshot
	for _, s := range all {
		if Ineligible(source, s) == "" {
			eligible = append(eligible, s)
		}
	}
	if len(eligible) < keep {
		return nil // too few to have old ones
	}
	c := Of(source, all)
	newestFirst := func(a, b ec2ops.Snapshot) int { return c.byAge(b, a) }
	sort.SliceStable(eligible, func(i, j int) bool { return newestFirst(eligible[i], eligible[j]) < 0 })
	oldestKept := eligible[keep-1]
	var list []Pruned
	for _, s := range all {
		what, mayGo := prunable(source, s)
		switch {
		case newestFirst(s, oldestKept) <= 0 || !mayGo:
		case slices.ContainsFunc(volumes, func(v ec2ops.Volume) bool {
			return v.SnapshotID == s.ID && v.State == ec2ops.VolumeCreating
		}):
		default:
			list = append(list, Pruned{ID: s.ID, Reason: fmt.Sprintf("%solder than the newest %d", what, keep), Age: now.Sub(s.Start), SizeGiB: s.SizeGiB})
		}
	}
	sort.SliceStable(list, func(i, j int) bool {
		return cmp.Or(cmp.Compare(list[j].Age, list[i].Age), cmp.Compare(list[i].ID, list[j].ID)) < 0
	})
	return list
}

// prunable reports whether a snapshot may be deleted once it is old, and what it is if it is no release.
func prunable(source string, s ec2ops.Snapshot) (what string, ok bool) {
	_, rejected := s.Tags[ec2ops.TagRejected]
	switch {
	case s.Tier == ec2ops.TierArchive || ec2ops.UnknownFormat(s.Tags) != "":
		return "", false
	case rejected:
		return "rejected, and ", s.State == ec2ops.SnapshotCompleted
	case abandoned(source, s):
		return "a copy that was not finished, and ", true
	}
	return "", Ineligible(source, s) == ""
}

// orphans decides which volumes to delete: ours by their tags, not attached, of an instance
// that no longer exists.
func orphans(source string, all []ec2ops.Volume, alive map[string]bool, now time.Time) []Pruned {
	var list []Pruned
	for _, v := range all {
		owner := v.Tags[ec2ops.TagInstance]
		free := v.State == ec2ops.VolumeAvailable || v.State == ec2ops.VolumeError
		if v.Tags[ec2ops.TagSource] != source || ec2ops.UnknownFormat(v.Tags) != "" || owner == "" || alive[owner] || !free || now.Sub(v.Created) < orphanAge {
			continue
		}
		list = append(list, Pruned{ID: v.ID, Reason: owner + " no longer exists", Age: now.Sub(v.Created), SizeGiB: v.SizeGiB})
	}
	sort.SliceStable(list, func(i, j int) bool {
		return cmp.Or(cmp.Compare(list[j].Age, list[i].Age), cmp.Compare(list[i].ID, list[j].ID)) < 0
	})
	return list
}
