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

// put gives our tags for an instance that has these tags: our roles beside those that
// others gave it.
func (r Roles) put(have map[string]string) map[string]string {
	set := map[string]string{}
	for key, ours := range map[string][]string{r.RolesTag: r.Roles, r.StagesTag: r.Stages} {
		all := splitList(have[key])
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

// takeOff gives the tags to set and those to remove, by value, so that an instance that
// has these tags no longer has our roles. Stage and project alone make nobody a target,
// and others' roles may need them: ours of them go with the last role.
func (r Roles) takeOff(have map[string]string) (set, remove map[string]string) {
	set, remove = map[string]string{}, map[string]string{}
	left := func(key string, ours []string) []string {
		return slices.DeleteFunc(splitList(have[key]), func(v string) bool { return slices.Contains(ours, v) })
	}
	takeOff := func(key string, ours []string) {
		switch others := left(key, ours); {
		case len(others) == len(splitList(have[key])):
		case len(others) > 0:
			set[key] = strings.Join(others, ",")
		default:
			remove[key] = have[key]
		}
	}
	takeOff(r.RolesTag, r.Roles)
	if len(left(r.RolesTag, r.Roles)) == 0 && r.announced(have) {
		takeOff(r.StagesTag, r.Stages)
		if r.Project != "" && have[r.ProjectTag] == r.Project {
			remove[r.ProjectTag] = r.Project
		}
	}
	return set, remove
}

// announced says whether an instance that has these tags has one of our roles or, where
// there are none, our stages or project.
func (r Roles) announced(have map[string]string) bool {
	any := func(key string, ours []string) bool {
		return slices.ContainsFunc(splitList(have[key]), func(v string) bool { return slices.Contains(ours, v) })
	}
	if len(r.Roles) > 0 {
		return any(r.RolesTag, r.Roles)
	}
	return any(r.StagesTag, r.Stages) || r.Project != "" && have[r.ProjectTag] == r.Project
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
	put := b.cfg.Roles.put(have)
	// What was not mounted had no roles: if they are shown all the same, it is not shown
	// yet that they were taken off.
	needed := b.mounted
	for key, value := range put {
		needed = needed || have[key] != value
	}
	if needed {
		if err := b.agent.Cloud.Tag(ctx, b.self.InstanceID, put); err != nil {
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

// withhold takes the roles off an instance on which the Source is not mounted now though
// it was before, after a reboot or a start: no deployment is to find it before announce.
func (b *boot) withhold(ctx context.Context, sv seen) error {
	mounted := func(t mountfs.Target) bool { return t.State != mountfs.Mounted }
	if b.cfg.Roles.none() || sv.choice.volume == nil || !slices.ContainsFunc(sv.targets, mounted) {
		return nil
	}
	var dev mountfs.Device
	if sv.device != nil {
		dev = *sv.device
	}
	leave := b.inEC2.enter()
	have, err := b.tagsNow(ctx, dev)
	leave()
	if err != nil || !b.cfg.Roles.announced(have) {
		return err
	}
	return b.withdraw(ctx, func() error { return nil })
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
	if !b.cfg.Roles.announced(instance.Tags) && len(b.cfg.Roles.Roles) > 0 {
		// EC2 may not show yet what a run has just put on. Another value stays.
		remove[b.cfg.Roles.RolesTag] = strings.Join(b.cfg.Roles.Roles, ",")
	}
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
