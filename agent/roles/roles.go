// Package roles puts the tags by which deployments find an instance on it, and takes them
// off.
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
	// shownWithin is how long EC2 may take to show roles that were put on a moment ago, and
	// newWithin how long ago that is: it is eventually consistent, as a rule within a few
	// seconds. (EC2 API developer guide, "Eventual consistency")
	shownTimeout, newRolesAge = 15 * time.Second, time.Minute
	// poll is the pause between two polls for that.
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

// Now gives the instance's tags, of which ours have to be among. On an instance built on
// Nitro, which a volume that is an NVMe device proves, the metadata service follows every
// change of them; if it shows them, EC2 need not be asked.
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
	return r.Tags.OwnTags(ctx, []string{r.Wanted.RolesTag, r.Wanted.StagesTag, r.Wanted.ProjectTag})
}

// Put puts the roles on, and says whether that took a call. Roles that were taken off a
// moment ago may still be shown; again has them put on all the same.
func (r Roles) Put(ctx context.Context, dev *mountfs.Device, force bool) (changed bool, err error) {
	defer r.Run.InEC2()()
	have, err := r.Now(ctx, dev)
	if err != nil {
		return false, err
	}
	put := r.Wanted.Put(have)
	for key, value := range put {
		force = force || have[key] != value
	}
	if !force {
		return false, nil
	}
	return true, r.Tags.Tag(ctx, r.Run.Self.InstanceID, put)
}

// Shown gives the instance's tags if the roles are among them, else nil. For an instance
// that is launched for the first time, which has roles only if somebody else gave it some,
// only the metadata service is asked.
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

// AreNew says whether the roles were put on a moment ago by the run that left the record.
func Recent(r record.Record) bool { return r.Roles != "" && time.Since(r.Ready) < newRolesAge }

// TakeOff takes the roles off, so that no deployment comes to the instance any more. have
// are the instance's tags, nil if they are to be read. It waits for roles that are new: EC2
// may not show them yet.
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
		// They may be on and not be shown. Another value stays.
		remove[r.Wanted.RolesTag] = strings.Join(r.Wanted.Roles, ",")
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

// read reads the tags; those of roles that are new are waited for.
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
