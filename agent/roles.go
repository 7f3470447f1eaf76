package agent

import (
	"context"
	"slices"
	"strings"

	"snapsource/mountfs"
)

// tagValueMax is EC2's limit for a tag's value, in characters. (CreateTags, API
// reference)
const tagValueMax = 255

func (r Roles) validate() error {
	for key, list := range map[string][]string{"role": r.Roles, "stage": r.Stages} {
		for _, v := range list {
			if v == "" || strings.TrimSpace(v) != v || strings.Contains(v, ",") || !printable(v) {
				return usagef("%s: %q is not one %s", key, v, key)
			}
		}
		if len(strings.Join(list, ",")) > tagValueMax {
			return usagef("%s: all of them together are longer than a tag's %d characters", key, tagValueMax)
		}
	}
	keys := []string{r.RolesTag, r.StagesTag, r.ProjectTag}
	for i, k := range keys {
		if err := validateTag(k, ""); err != nil {
			return err
		}
		if slices.Contains(keys[:i], k) {
			return usagef("tag %q can't hold two of roles, stages and project", k)
		}
	}
	if !printable(r.Project) {
		return usagef("project: %q has characters that can't be printed", r.Project)
	}
	if len(r.Project) > tagValueMax {
		return usagef("project: longer than a tag's %d characters", tagValueMax)
	}
	return nil
}

// none says whether there is nothing to put on the instance.
func (r Roles) none() bool { return len(r.Roles) == 0 && len(r.Stages) == 0 && r.Project == "" }

// put gives the tags to set on an instance that has these tags, so that it has our
// roles beside those that others gave it.
func (r Roles) put(have map[string]string) map[string]string {
	set := map[string]string{}
	for key, ours := range map[string][]string{r.RolesTag: r.Roles, r.StagesTag: r.Stages} {
		all := splitList(have[key])
		for _, v := range ours {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
		if joined := strings.Join(all, ","); len(ours) > 0 && joined != have[key] {
			set[key] = joined
		}
	}
	if r.Project != "" && have[r.ProjectTag] != r.Project {
		set[r.ProjectTag] = r.Project
	}
	return set
}

// takeOff gives the tags to set and the keys to remove, so that an instance that
// has these tags no longer has our roles. Stage and project alone make nobody a
// target, and others' roles may need them: they go with the last role.
func (r Roles) takeOff(have map[string]string) (set map[string]string, remove []string) {
	set = map[string]string{}
	all := splitList(have[r.RolesTag])
	left := slices.DeleteFunc(slices.Clone(all), func(v string) bool { return slices.Contains(r.Roles, v) })
	switch {
	case len(left) == len(all) && len(all) > 0:
	case len(left) > 0:
		set[r.RolesTag] = strings.Join(left, ",")
	default:
		keys := []string{r.RolesTag}
		if len(r.Stages) > 0 {
			keys = append(keys, r.StagesTag)
		}
		if r.Project != "" {
			keys = append(keys, r.ProjectTag)
		}
		for _, key := range keys {
			if _, has := have[key]; has {
				remove = append(remove, key)
			}
		}
	}
	return set, remove
}

// splitList reads a tag's list as cap-ec2 does: separated by commas, spaces around
// them do not count.
func splitList(v string) []string {
	var list []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// announceRoles puts the roles on the instance, if all its sources are ready now,
// and gives what a person reads about it.
func (b *boot) announceRoles(ctx context.Context, dev mountfs.Device) (string, error) {
	if b.cfg.Roles.none() {
		return "", nil
	}
	if b.entrance.ToBeWarmed() {
		return "roles once it enters service", nil
	}
	if waitsFor := b.notReadyYet(); waitsFor != "" {
		return "roles once " + waitsFor + " is ready", nil
	}
	defer b.inEC2.enter()()
	have, err := b.tagsNow(ctx, dev)
	if err != nil {
		return "", err
	}
	if set := b.cfg.Roles.put(have); len(set) > 0 {
		if err := b.agent.Cloud.Tag(ctx, b.self.InstanceID, set); err != nil {
			return "", err
		}
	}
	return "roles " + strings.Join(b.cfg.Roles.Roles, ","), nil
}

// tagsNow gives the instance's tags, of which ours have to be among. On an instance
// built on Nitro, which a volume that is an NVMe device proves, the metadata service
// follows every change of them; if it shows them, EC2 need not be asked.
func (b *boot) tagsNow(ctx context.Context, dev mountfs.Device) (map[string]string, error) {
	if dev.NVMe() {
		keys := []string{b.cfg.Roles.RolesTag, b.cfg.Roles.StagesTag, b.cfg.Roles.ProjectTag}
		if tags, known := b.agent.Cloud.OwnTags(ctx, keys); known {
			return tags, nil
		}
	}
	instance, err := b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	return instance.Tags, err
}

// all gives every source of the instance.
func (c Config) all() []Source {
	if len(c.All) > 0 {
		return c.All
	}
	return c.Sources
}

// notReadyYet names another source of this instance that is not ready.
func (b *boot) notReadyYet() string {
	for _, src := range b.cfg.all() {
		if src.Name == b.src.Name {
			continue
		}
		other := boot{agent: b.agent, cfg: b.cfg, src: src}
		if _, ok := other.stillReady(); !ok {
			return src.Name
		}
	}
	return ""
}

// withdrawRoles takes the roles off the instance, so that no deployment comes to it
// any more.
func (b *boot) withdrawRoles(ctx context.Context) error {
	if b.cfg.Roles.none() {
		return nil
	}
	defer b.inEC2.enter()()
	instance, err := b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	if err != nil {
		return err
	}
	set, remove := b.cfg.Roles.takeOff(instance.Tags)
	if len(set) > 0 {
		if err := b.agent.Cloud.Tag(ctx, b.self.InstanceID, set); err != nil {
			return err
		}
	}
	if len(remove) > 0 {
		return b.agent.Cloud.Untag(ctx, b.self.InstanceID, remove)
	}
	return nil
}
