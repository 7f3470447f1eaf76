package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// A launch template's block device mapping can name a release: then EC2 has created and attached the
// source's volume before the kernel boots. Such a volume has arrived. A run that takes it over claims
// it by its tags; then it is like one that the run created.

// arrival is what came with the launch, as far as it concerns a source.
type arrival struct {
	volume *ec2ops.Volume  // the source's, claimed by no run; nil if there is none
	others []ec2ops.Volume // attached volumes that are not the source's
	notes  []string        // why a volume that seems to be the source's is not used
}

// launchSpan is the longest time between the attachments of the volumes of one launch. EC2 gives them
// the same time, but for a second; an AttachVolume by hand has to wait until the instance runs.
const launchSpan = 10 * time.Second

// decideArrival finds the volume that arrived for a source among the attached volumes. root is the
// device name of the root volume, "" if unknown.
//
//   - Its tags are those that publish put into the launch template: of this source, and of the
//     snapshot that the volume is from. All volumes of the launch have these tags, so they say
//     nothing about the root volume, a copy that the machine image brings, or a blank volume: a
//     blank one is never formatted, as it may be for something else.
//   - It was attached by the launch. One that somebody attached later may be in use by them.
//   - It has no instance's tag: nobody has taken it over.
func decideArrival(src config.Source, self ec2ops.Identity, root string, attached []ec2ops.Volume) (a arrival) {
	launched := launchTime(self, root, attached)
	var candidates []ec2ops.Volume
	for _, v := range attached {
		at, ok := v.AttachmentTo(self.InstanceID)
		if !ok || at.State == ec2ops.Detaching || at.Device == root || v.Gone() || v.Tags[ec2ops.TagInstance] == self.InstanceID {
			continue
		}
		note := func(why string) {
			a.notes = append(a.notes, fmt.Sprintf("%s (%s) is not used: %s", v.ID, at.Device, why))
		}
		ofSource := slices.Contains(ec2ops.TagValues(v.Tags[ec2ops.TagSource]), src.Name)
		switch {
		case v.Tags[ec2ops.TagInstance] != "" && ofSource:
			note("its tags say that it is " + v.Tags[ec2ops.TagInstance] + "'s")
		case ofSource && v.SnapshotID == "" && at.Device == src.Device:
			note("it came blank with the launch, and a launch template's tags are on all volumes of a launch: they do not say what this one is for")
		case !v.PublishedFor(src.Name):
			if !publishedForAny(v) { // another source's is none of this one's concern
				a.others = append(a.others, v)
			}
		case v.State == ec2ops.VolumeError:
			note("it is in the state error")
		case ec2ops.UnknownFormat(v.Tags) != "":
			note("a later version of snapsource has made its launch template (tags of format " + ec2ops.UnknownFormat(v.Tags) + ")")
		case !withLaunch(at.Time, launched):
			note("it has the tags of a launch template, but was not attached by the launch")
		default:
			candidates = append(candidates, v)
		}
	}
	slices.SortFunc(candidates, func(x, y ec2ops.Volume) int {
		return cmp.Or(cmp.Compare(atDevice(x, self, src.Device), atDevice(y, self, src.Device)), cmp.Compare(x.ID, y.ID))
	})
	for n, v := range candidates {
		if n == 0 {
			a.volume = &v
		} else {
			a.notes = append(a.notes, fmt.Sprintf("%s is not used: the launch template names a release of %s twice", v.ID, src.Name))
		}
	}
	return a
}

// publishedForAny reports whether the volume is one that its launch template names for a source.
func publishedForAny(v ec2ops.Volume) bool {
	return slices.ContainsFunc(ec2ops.TagValues(v.Tags[ec2ops.TagSource]), v.PublishedFor)
}

// atDevice orders a volume that has the wanted device name before others.
func atDevice(v ec2ops.Volume, self ec2ops.Identity, device string) int {
	if at, _ := v.AttachmentTo(self.InstanceID); at.Device == device {
		return 0
	}
	return 1
}

// launchTime returns when the launch attached its volumes: the root volume's attachment. If root is
// unknown, it is the first attachment before the last start: an instance that was stopped has its root
// on EBS, attached since its launch. Else it is the instance's launch.
func launchTime(self ec2ops.Identity, root string, attached []ec2ops.Volume) time.Time {
	launched := self.Launched // the last start, after a stop
	for _, v := range attached {
		at, ok := v.AttachmentTo(self.InstanceID)
		switch {
		case !ok || at.Time.IsZero():
		case root != "" && at.Device == root:
			return at.Time
		case root == "" && at.Time.Before(launched.Add(-launchSpan)):
			launched = at.Time
		}
	}
	return launched
}

func withLaunch(attached, launched time.Time) bool {
	return !attached.IsZero() && !launched.IsZero() && attached.Sub(launched).Abs() <= launchSpan
}

// checkArrived decides whether a launch uses the volume that arrived; it returns nil if so. Nobody has
// used it yet, so it is replaced whenever a volume that this run created would be another one: the
// launch template is behind, its snapshot was rejected or deleted, or encryption is configured that
// the volume does not have.
func (l *launch) checkArrived(ctx context.Context, v ec2ops.Volume, snapshots []ec2ops.Snapshot) (*superseded, error) {
	if _, listed := releases.Of(l.src.Name, snapshots).Find(v.SnapshotID); !listed {
		// The list lacks snapshots with another Name, as rejected ones have, and may lack a new one.
		own, known, err := l.cloud.Snapshots.SnapshotByID(ctx, v.SnapshotID)
		if err != nil {
			return nil, err
		}
		if known {
			snapshots = append(slices.Clone(snapshots), own)
		}
	}
	stale := decideArrived(l.src, v, snapshots)
	if stale == nil {
		return nil, nil
	}
	// Nothing is deleted for a volume that can't be created.
	if _, _, err := chooseStart(l.src, config.IfNoneFail, snapshots); errors.Is(err, failure.ErrUsage) {
		return nil, err
	}
	return stale, nil
}

// decideArrived is the decision of [launch.checkArrived]. snapshots has the volume's, if it exists.
func decideArrived(src config.Source, v ec2ops.Volume, snapshots []ec2ops.Snapshot) *superseded {
	stale := &superseded{volume: v, always: true, arrived: true}
	c := releases.Of(src.Name, snapshots)
	own, known := c.Find(v.SnapshotID)
	newest, none := c.Newest()
	switch {
	case !known:
		stale.withdrawn = releases.Gone
	case releases.Ineligible(src.Name, own) != "":
		stale.withdrawn = releases.Ineligible(src.Name, own)
	case none == nil && newest.ID != v.SnapshotID:
		stale.newer = newest
	case src.Encrypted && !v.Encrypted:
		stale.withdrawn = "not encrypted, and encrypted is set"
	case src.KMSKey != "" && otherKey(src.KMSKey, v.KMSKey):
		stale.withdrawn = "encrypted with " + v.KMSKey + ", not with the configured kms-key"
	default:
		return nil
	}
	return stale
}

// refusedArrival returns the outcome for a volume that arrived and whose data can't be used: it is
// replaced, as if it had not come. It returns nil for other errors.
func refusedArrival(p placed, err error) *superseded {
	refused := errors.Is(err, failure.ErrRefused) || errors.Is(err, mountfs.ErrRefused) || errors.Is(err, failure.ErrNotRelease)
	if p.origin != arrived || !refused || errors.Is(err, mountfs.ErrBusy) || errors.Is(err, mountfs.ErrTarget) {
		return nil
	}
	if step, ok := errors.AsType[*report.StepError](err); ok {
		err = step.Err
	}
	return &superseded{volume: p.volume, withdrawn: "not usable: " + failure.Line(err), always: true, arrived: true}
}

// discard tags a volume that arrived and is not used, before it is detached: then only its tags lead
// to it. The next run after a crash deletes it by that.
func (l *launch) discard(ctx context.Context, stale *superseded) error {
	return l.tagAsOurs(ctx, stale.volume, ec2ops.TagDiscarded, cmp.Or(stale.newer.ID, "unusable"))
}

// mountArrived mounts a volume that arrived and is not mounted yet while EC2 lists the snapshots: its
// tags and its attachment prove that it is the source's, and nobody uses it. If it turns out to be
// the wrong release, it is unmounted again before anything is announced. A device that is known only by
// its name is mounted later.
func (l *launch) mountArrived(ctx context.Context, obs *observed) (err error) {
	if !obs.choice.arrived || obs.early.complete || obs.device == nil || !obs.device.ByID() {
		return nil
	}
	a := attached{placed: placed{volume: *obs.choice.volume, origin: arrived, others: obs.others}, device: *obs.device}
	obs.early, err = l.inspectAndMount(ctx, a, *obs)
	obs.early.byThisRun = true
	if obs.refused = refusedArrival(a.placed, err); obs.refused != nil {
		return nil
	}
	return err
}

// claim tags a volume that arrived as this instance's, so that it is like one that a run created. It
// is the last thing before the launch is done: until then the next run after a crash decides anew
// whether the release is the newest.
func (l *launch) claim(ctx context.Context, v ec2ops.Volume) error {
	if releases.StartedSince(v, l.Self) { // EC2 may create it before the time that counts as the launch
		return l.tagAsOurs(ctx, v, ec2ops.TagStarted, releases.StartTag(l.Self))
	}
	return l.tagAsOurs(ctx, v, "", "")
}

// tagAsOurs gives a volume that arrived the tags of one that the run creates, as far as it does not have
// them yet, and a further one unless key is "".
func (r *run) tagAsOurs(ctx context.Context, v ec2ops.Volume, key, value string) error {
	tags := r.src.VolumeTags(r.Self.InstanceID, v.SnapshotID)
	if key != "" {
		tags[key] = value
	}
	maps.DeleteFunc(tags, func(key, value string) bool { have, tagged := v.Tags[key]; return tagged && have == value })
	return r.cloud.Volumes.Tag(ctx, v.ID, tags)
}

// noteCopies names the volumes with the file system of the Source: a machine image that was made of a
// running instance brings a copy of its Source, as old as the image.
func (l *launch) noteCopies(others []ec2ops.Volume, uuid string) {
	for _, v := range others {
		at, _ := v.AttachmentTo(l.Self.InstanceID)
		dev, err := l.deviceOf(v)
		if err != nil || dev == nil {
			continue
		}
		disk, err := l.host.OpenDisk(*dev)
		if err != nil {
			continue // in use by others
		}
		contents, err := disk.Probe("")
		_ = disk.Close()
		if err != nil || contents.Kind != mountfs.XFS || contents.XFS.UUID != uuid {
			continue
		}
		l.Note(fmt.Sprintf("%s (%s), from %s, has the file system of the Source, but not the tags of a launch template that names it: it is not used. If the machine image brings it, make the image without it (--block-device-mappings DeviceName=%s,NoDevice=)",
			v.ID, dev.Node, v.SnapshotID, at.Device))
	}
}
