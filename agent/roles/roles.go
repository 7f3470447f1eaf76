// Package roles adds and removes the tags by which deployments find an instance.
package roles

import (
	"context"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

const (
	// shownTimeout is how long EC2 may take to show roles that are not older than newRolesAge.
	// EC2 is eventually consistent, usually within a few seconds. (EC2 API developer guide,
	// "Eventual consistency")
	shownTimeout, newRolesAge = 15 * time.Second, time.Minute
	// poll is the poll interval meanwhile.
	poll = time.Second
)

// Tags are the tags of an instance. *ec2ops.Client implements it.
type Tags interface {
	Instance(ctx context.Context, id string) (ec2ops.Instance, error)
	OwnTags(ctx context.Context, keys []string) (tags map[string]string, known bool)
	Tag(ctx context.Context, id string, tags map[string]string) error
	Untag(ctx context.Context, id string, remove map[string]string) error
}

// Roles are those of one instance.
type Roles struct {
	Wanted config.Roles
	Tags   Tags
	Run    *report.Run
}

// Now returns the instance's tags, at least those for roles, stages and project. On a Nitro
// instance the metadata service shows tag changes at once, so it is read instead of EC2 if it
// has the tags. An NVMe device proves that the instance is Nitro.
func (r Roles) Now(ctx context.Context, dev *mountfs.Device) (map[string]string, error) {
	if dev != nil && dev.NVMe() {
		if tags, known := r.fromMetadata(ctx); known {
			return tags, nil
		}
	}
	instance, err := r.Tags.Instance(ctx, r.Run.Self.InstanceID)
	return instance.Tags, err
}

func (r Roles) fromMetadata(ctx context.Context) (map[string]string, bool) {
	return r.Tags.OwnTags(ctx, []string{r.Wanted.RolesTag, r.Wanted.StagesTag, r.Wanted.ProjectTag, ec2ops.TagInstance})
}

// Put adds the roles, in place of those of an earlier run, and reports whether it tagged the
// instance. With force it tags even if EC2 shows the roles: they may have been removed a moment
// ago.
func (r Roles) Put(ctx context.Context, dev *mountfs.Device, earlier config.Roles, force bool) (changed bool, err error) {
	defer r.Run.InEC2()()
	have, err := r.Now(ctx, dev)
	if err != nil {
		return false, err
	}
	put := r.Wanted.Put(have, earlier)
	r.own(put, have)
	for key, value := range put {
		force = force || have[key] != value
	}
	if !force {
		return false, nil
	}
	return true, r.Tags.Tag(ctx, r.Run.Self.InstanceID, put)
}

// own adds the instance's id to the tags to set, unless the instance has it. A policy can permit an
// instance to remove its own tags, and no other's, only by such a tag: ec2:DeleteTags has no condition
// key that names an instance. (Service Authorization Reference, Amazon EC2)
func (r Roles) own(set, have map[string]string) {
	if id := r.Run.Self.InstanceID; have[ec2ops.TagInstance] != id {
		set[ec2ops.TagInstance] = id
	}
}

// Shown returns the instance's tags if they include our roles, else nil. On the first launch
// of an instance it reads only the metadata service, as no earlier run can have added roles.
func (r Roles) Shown(ctx context.Context, dev *mountfs.Device, first bool) (tags map[string]string, err error) {
	defer r.Run.InEC2()()
	if first {
		tags, _ = r.fromMetadata(ctx)
	} else if tags, err = r.Now(ctx, dev); err != nil {
		return nil, err
	}
	if !r.Wanted.Announced(tags) {
		return nil, nil
	}
	return tags, nil
}

// Recent reports whether the run that saved the record added the roles a moment ago.
func Recent(r record.Record) bool { return r.Roles != "" && time.Since(r.Ready) < newRolesAge }

// Remove removes the roles, so that no deployment finds the instance. have are the instance's
// tags; if nil, Remove reads them. If the roles are recent, it waits until EC2 shows them.
func (r Roles) Remove(ctx context.Context, have map[string]string, recent bool) (err error) {
	if r.Wanted.None() {
		return nil
	}
	defer r.Run.InEC2()()
	if have == nil || recent {
		if have, err = r.read(ctx, recent); err != nil {
			return err
		}
	}
	id := r.Run.Self.InstanceID
	set, remove := r.Wanted.Remove(have)
	if !r.Wanted.Announced(have) && len(r.Wanted.Roles) > 0 {
		// They may be set but not shown yet. Untag removes only this value.
		remove[r.Wanted.RolesTag] = strings.Join(r.Wanted.Roles, ",")
	}
	if len(remove) > 0 {
		r.own(set, have)
	}
	if len(set) > 0 {
		if err := r.Tags.Tag(ctx, id, set); err != nil {
			return err
		}
	}
	if len(remove) > 0 {
		return r.Tags.Untag(ctx, id, remove)
	}
	return nil
}

// read reads the tags. If the roles are recent, it polls until EC2 shows them.
func (r Roles) read(ctx context.Context, recent bool) (map[string]string, error) {
	instance, err := r.Tags.Instance(ctx, r.Run.Self.InstanceID)
	for until := time.Now().Add(shownTimeout); err == nil && recent && !r.Wanted.AllShown(instance.Tags) && time.Now().Before(until); {
		if err := r.Run.Pause(ctx, poll, "the roles"); err != nil {
			return nil, err
		}
		instance, err = r.Tags.Instance(ctx, r.Run.Self.InstanceID)
	}
	return instance.Tags, err
}
