package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
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
		b.announced = true
	}
	return "roles " + strings.Join(b.cfg.Roles.Roles, ","), nil
}

// tagsNow gives the instance's tags, of which ours have to be among. On an instance
// built on Nitro, which a volume that is an NVMe device proves, the metadata service
// follows every change of them; if it shows them, EC2 need not be asked.
func (b *boot) tagsNow(ctx context.Context, dev mountfs.Device) (map[string]string, error) {
	if dev.NVMe() {
		if tags, known := b.agent.Cloud.OwnTags(ctx, b.roleKeys()); known {
			return tags, nil
		}
	}
	instance, err := b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	return instance.Tags, err
}

func (b *boot) roleKeys() []string {
	return []string{b.cfg.Roles.RolesTag, b.cfg.Roles.StagesTag, b.cfg.Roles.ProjectTag}
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
// it may have been before, after a reboot or a start: no deployment is to find it before
// announce. Without a volume of an earlier run it is a first launch, which has roles only
// if somebody else gave it some: that is looked for only where the metadata service tells.
func (b *boot) withhold(ctx context.Context, sv seen) error {
	if b.cfg.Roles.None() || !anyUnmounted(sv.targets) {
		return nil
	}
	var have map[string]string
	var err error
	leave := b.inEC2.enter()
	if sv.choice.volume == nil {
		have, _ = b.agent.Cloud.OwnTags(ctx, b.roleKeys())
	} else {
		var dev mountfs.Device
		if sv.device != nil {
			dev = *sv.device
		}
		have, err = b.tagsNow(ctx, dev)
	}
	leave()
	if err != nil || !b.cfg.Roles.Announced(have) {
		return err
	}
	return b.withdraw(ctx, func() error { return nil })
}

func anyUnmounted(targets []mountfs.Target) bool {
	return slices.ContainsFunc(targets, func(t mountfs.Target) bool { return t.State != mountfs.Mounted })
}

// hideWithin bounds the calls that take the roles off after a failure.
const hideWithin = 30 * time.Second

// hide takes the roles off after a failure, if the Source is not mounted; not where no
// call can be signed.
func (b *boot) hide(ctx context.Context, cause error) {
	targets, err := b.lookTargets()
	if b.cfg.Roles.None() || b.self.InstanceID == "" || errors.Is(cause, ec2ops.ErrNoCredentials) || err != nil || !anyUnmounted(targets) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hideWithin)
	defer cancel()
	have, err := b.tagsNow(ctx, mountfs.Device{})
	if err == nil && b.cfg.Roles.Announced(have) {
		err = b.withdraw(ctx, func() error { return nil })
	}
	if err != nil {
		b.note("the Source is not mounted, and whether the roles are off is not known: " + failure.Line(err))
	}
}

const (
	// rolesShown is how long EC2 may take to show roles that were put on a moment ago, and
	// rolesNew how long ago that is: it is eventually consistent, as a rule within a few
	// seconds.
	rolesShown, rolesNew = 15 * time.Second, time.Minute
	// rolesPoll is the pause between two looks at that.
	rolesPoll = time.Second
)

// newRoles says whether roles were put on a moment ago, by this run or by the one whose
// record there is.
func (b *boot) newRoles() bool {
	r, err := b.agent.Host.LoadRecord(b.src.Name)
	return b.announced || err == nil && r.Roles != "" && time.Since(r.Ready) < rolesNew
}

// withdrawRoles takes the roles off the instance, so that no deployment comes to it
// any more. Those that are new are waited for: EC2 may not show them yet.
func (b *boot) withdrawRoles(ctx context.Context, areNew bool) error {
	if b.cfg.Roles.None() {
		return nil
	}
	defer b.inEC2.enter()()
	instance, err := b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	for until := time.Now().Add(rolesShown); err == nil && areNew && !b.cfg.Roles.AllShown(instance.Tags) && time.Now().Before(until); {
		if err := b.pause(ctx, rolesPoll, "the roles"); err != nil {
			return err
		}
		instance, err = b.agent.Cloud.Instance(ctx, b.self.InstanceID)
	}
	if err != nil {
		return err
	}
	set, remove := b.cfg.Roles.TakeOff(instance.Tags)
	if !b.cfg.Roles.Announced(instance.Tags) && len(b.cfg.Roles.Roles) > 0 {
		// They may be on and not be shown. Another value stays.
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
