package agent

import (
	"context"
	"slices"
	"strings"

	"snapsource/mountfs"
)

// announceRoles puts the roles on the instance, if all its sources are ready now,
// and gives what a person reads about it.
func (b *boot) announceRoles(ctx context.Context, dev mountfs.Device) (string, error) {
	if b.cfg.Roles.None() {
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
	put := b.cfg.Roles.Put(have)
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

// notReadyYet names another source of this instance that is not ready.
func (b *boot) notReadyYet() string {
	for _, src := range b.cfg.EverySource() {
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
	if b.cfg.Roles.None() || sv.choice.volume == nil || !slices.ContainsFunc(sv.targets, mounted) {
		return nil
	}
	var dev mountfs.Device
	if sv.device != nil {
		dev = *sv.device
	}
	leave := b.inEC2.enter()
	have, err := b.tagsNow(ctx, dev)
	leave()
	if err != nil || !b.cfg.Roles.Announced(have) {
		return err
	}
	return b.withdraw(ctx, func() error { return nil })
}

// withdrawRoles takes the roles off the instance, so that no deployment comes to it
// any more.
func (b *boot) withdrawRoles(ctx context.Context) error {
	if b.cfg.Roles.None() {
		return nil
	}
	defer b.inEC2.enter()()
	instance, err := b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	if err != nil {
		return err
	}
	set, remove := b.cfg.Roles.TakeOff(instance.Tags)
	if !b.cfg.Roles.Announced(instance.Tags) && len(b.cfg.Roles.Roles) > 0 {
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
