package config

import (
	"slices"
	"strings"
)

// TagValueMax is the longest tag value of EC2, in characters. (CreateTags, API reference)
const TagValueMax = 255

func (r Roles) validate() error {
	for key, list := range map[string][]string{"role": r.Roles, "stage": r.Stages} {
		for _, v := range list {
			if v == "" || strings.TrimSpace(v) != v || strings.Contains(v, ",") || !printable(v) {
				return Usagef("%s: %q is not one %s", key, v, key)
			}
		}
		if len(strings.Join(list, ",")) > TagValueMax {
			return Usagef("%s: all of them together are longer than a tag's %d characters", key, TagValueMax)
		}
	}
	keys := []string{r.RolesTag, r.StagesTag, r.ProjectTag}
	for i, k := range keys {
		if err := ValidateTag(k, ""); err != nil {
			return err
		}
		if slices.Contains(keys[:i], k) {
			return Usagef("tag %q can't hold two of roles, stages and project", k)
		}
	}
	if !printable(r.Project) {
		return Usagef("project: %q has characters that can't be printed", r.Project)
	}
	if len(r.Project) > TagValueMax {
		return Usagef("project: longer than a tag's %d characters", TagValueMax)
	}
	return nil
}

// None reports whether no roles, stages or project are configured.
func (r Roles) None() bool { return len(r.Roles) == 0 && len(r.Stages) == 0 && r.Project == "" }

// Put returns the tags to set on an instance that has these tags. It replaces what an earlier
// run of ours put there, and keeps the roles that others added.
func (r Roles) Put(have map[string]string, earlier Roles) map[string]string {
	set := map[string]string{}
	was := map[string][]string{earlier.RolesTag: earlier.Roles, earlier.StagesTag: earlier.Stages}
	for key, ours := range map[string][]string{r.RolesTag: r.Roles, r.StagesTag: r.Stages} {
		all := slices.DeleteFunc(SplitList(have[key]), func(v string) bool { return slices.Contains(was[key], v) && !slices.Contains(ours, v) })
		for _, v := range ours {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
		if len(ours) > 0 {
			set[key] = strings.Join(all, ",")
		}
	}
	if r.Project != "" {
		set[r.ProjectTag] = r.Project
	}
	return set
}

// With returns these roles and those of an earlier run, where the keys of their tags are the same.
func (r Roles) With(earlier Roles) Roles {
	add := func(key, was string, list, more []string) []string {
		list = slices.Clone(list)
		for _, v := range more {
			if key == was && !slices.Contains(list, v) {
				list = append(list, v)
			}
		}
		return list
	}
	r.Roles = add(r.RolesTag, earlier.RolesTag, r.Roles, earlier.Roles)
	r.Stages = add(r.StagesTag, earlier.StagesTag, r.Stages, earlier.Stages)
	if r.Project == "" && r.ProjectTag == earlier.ProjectTag {
		r.Project = earlier.Project
	}
	return r
}

// Remove returns the tags to set and those to remove, with their values, so that an instance
// with these tags loses our roles. Stage and project alone do not make it a target, and others'
// roles may need them, so they are removed only with the last role.
func (r Roles) Remove(have map[string]string) (set, remove map[string]string) {
	set, remove = map[string]string{}, map[string]string{}
	left := func(key string, ours []string) []string {
		return slices.DeleteFunc(SplitList(have[key]), func(v string) bool { return slices.Contains(ours, v) })
	}
	removeFrom := func(key string, ours []string) {
		switch others := left(key, ours); {
		case len(others) == len(SplitList(have[key])):
		case len(others) > 0:
			set[key] = strings.Join(others, ",")
		default:
			remove[key] = have[key]
		}
	}
	removeFrom(r.RolesTag, r.Roles)
	if len(left(r.RolesTag, r.Roles)) == 0 && r.Announced(have) {
		removeFrom(r.StagesTag, r.Stages)
		if r.Project != "" && have[r.ProjectTag] == r.Project {
			remove[r.ProjectTag] = r.Project
		}
	}
	return set, remove
}

// Announced reports whether these tags include one of our roles or, if no roles are configured,
// our stages or project.
func (r Roles) Announced(have map[string]string) bool {
	any := func(key string, ours []string) bool {
		return slices.ContainsFunc(SplitList(have[key]), func(v string) bool { return slices.Contains(ours, v) })
	}
	if len(r.Roles) > 0 {
		return any(r.RolesTag, r.Roles)
	}
	return any(r.StagesTag, r.Stages) || r.Project != "" && have[r.ProjectTag] == r.Project
}

// AllShown reports whether these tags include all of our roles.
func (r Roles) AllShown(have map[string]string) bool {
	settingKey := SplitList(have[r.RolesTag])
	return !slices.ContainsFunc(r.Roles, func(v string) bool { return !slices.Contains(settingKey, v) })
}

// SplitList parses a tag's list like cap-ec2: separated by commas, ignoring spaces around them.
func SplitList(v string) []string {
	var list []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
