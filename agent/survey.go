package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// seen is what a survey found.
type seen struct {
	targets   []mountfs.Target // the mountpoint and the bind targets
	choice    choice           // so far: the volume of an earlier run, if there is one
	device    *mountfs.Device  // of that volume, where the kernel shows it
	snapshots *later[[]ec2ops.Snapshot]
}

// survey looks at this host's mountpoints and at the volumes of earlier runs. The
// snapshots are listed at the same time, as a cold boot needs them next.
func (b *boot) survey(ctx context.Context, self ec2ops.Identity) (sv seen, err error) {
	s := b.begin(Survey)
	defer s.end(&err)
	defer b.inEC2.enter()()
	list := func(ctx context.Context) ([]ec2ops.Volume, error) {
		return b.agent.Cloud.Volumes(ctx, self.InstanceID, b.src.Name)
	}
	once := b.limiter.First(ctx, self)
	sv.snapshots = start(b, func() ([]ec2ops.Snapshot, error) { return b.agent.Cloud.Snapshots(once, b.src.Name) })
	volumes := start(b, func() ([]ec2ops.Volume, error) { return list(once) })
	sv.targets, err = b.lookTargets()
	over := b.await(OnCalls, "its volumes")
	<-volumes.done
	over()
	found, listErr := admission.Do(ctx, b.limiter, throttled{s}, "DescribeVolumes", volumes.first(list))
	if err := errors.Join(err, listErr); err != nil {
		return sv, err
	}
	if sv.choice, err = chooseVolume(b.src.Name, self.InstanceID, b.without(found)); err != nil {
		return sv, err
	}
	if sv.choice.volume == nil && anyXFS(sv.targets) {
		// An earlier run may have mounted a volume that EC2's lists do not show yet.
		s.waiting("the volume that is mounted at " + b.src.Mount)
		if sv.choice, err = b.existing(ctx, mayAppear); err != nil {
			return sv, err
		}
		if id := b.recordedAt(sv.targets); sv.choice.volume == nil && id != "" {
			return sv, fmt.Errorf("%w: %s is mounted here, and EC2 does not list it: DescribeVolumes", failure.ErrTemporary, id)
		}
	}
	if v := sv.choice.volume; v != nil {
		// EC2's list may be older than the attachment, from which an earlier run has
		// mounted already. Without EC2's name for it, its id is what the device is known by.
		at, _ := v.AttachmentTo(self.InstanceID)
		dev, err := b.agent.Host.Find(mountfs.Volume{ID: v.ID, Name: at.Device, Size: v.Bytes()})
		if err == nil {
			sv.device = &dev
		}
	}
	s.detail = sv.String()
	if err := checkTargets(sv.targets, sv.device); err != nil {
		return sv, err
	}
	return sv, b.checkAbove(sv.targets)
}

// recordedAt gives the id of the volume that an earlier run has left a record of, if it is
// what is mounted at one of the targets: that is nobody else's.
func (b *boot) recordedAt(targets []mountfs.Target) (id string) {
	r, err := b.agent.Host.LoadRecord(b.src.Name)
	if err != nil {
		return ""
	}
	dev, err := b.agent.Host.Find(mountfs.Volume{ID: r.Volume, Name: r.Device, Size: r.Size})
	if err != nil {
		return ""
	}
	for _, t := range targets {
		if t.State == mountfs.Mounted && t.Mount.Major == dev.Major && t.Mount.Minor == dev.Minor {
			return r.Volume
		}
	}
	return ""
}

// checkAbove refuses a target that lies in another source's volume: the configuration of
// that may be in another file. A directory for it would be made there, and go into the
// snapshots.
func (b *boot) checkAbove(targets []mountfs.Target) error {
	mounts, err := b.agent.Host.Mounts()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if t.State == mountfs.Mounted {
			continue
		}
		above := mountfs.MountAbove(mounts, t.Path)
		for _, r := range b.agent.Host.Records() {
			if r.Source != b.src.Name && r.Major == above.Major && r.Minor == above.Minor && above.FSType == "xfs" {
				return fmt.Errorf("%w: %s lies in the volume of source %s, which is mounted at %s", mountfs.ErrTarget, t.Path, r.Source, above.Target)
			}
		}
	}
	return nil
}

func anyXFS(targets []mountfs.Target) bool {
	return slices.ContainsFunc(targets, func(t mountfs.Target) bool { return t.State == mountfs.Mounted && t.Mount.FSType == "xfs" })
}

// String tells a person what was found: "nothing mounted, no volume of this source".
func (sv seen) String() string {
	var parts []string
	for _, t := range sv.targets {
		if t.State == mountfs.Mounted {
			parts = append(parts, t.Path+" is mounted")
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing mounted")
	}
	if v := sv.choice.volume; v != nil {
		parts = append(parts, v.ID+" is "+v.State)
	} else {
		parts = append(parts, "no volume of this source")
	}
	return strings.Join(parts, ", ")
}

func (b *boot) lookTargets() ([]mountfs.Target, error) {
	paths := []string{b.src.Mount}
	for _, bind := range b.src.Binds {
		paths = append(paths, bind.Target)
	}
	var targets []mountfs.Target
	for _, p := range paths {
		t, err := b.agent.Host.LookTarget(p)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", p, err)
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// choose completes the choice: without a volume of an earlier run, the snapshot to
// start from. What the later steps need of this host is checked here, before
// anything is created.
func (b *boot) choose(ctx context.Context, sv seen) (c choice, err error) {
	s := b.begin(Choose)
	defer s.end(&err)
	c = sv.choice
	if b.looksAtSnapshots(c.volume) {
		leave, over := b.inEC2.enter(), b.await(OnCalls, "its snapshots")
		<-sv.snapshots.done
		over()
		list := func(ctx context.Context) ([]ec2ops.Snapshot, error) { return b.agent.Cloud.Snapshots(ctx, b.src.Name) }
		snapshots, listErr := admission.Do(ctx, b.limiter, throttled{s}, "DescribeSnapshots", sv.snapshots.first(list))
		leave()
		if listErr != nil {
			return c, listErr
		}
		if c.volume != nil {
			stale, err := b.overtaken(ctx, *c.volume, snapshots)
			if err != nil {
				return c, err
			}
			if stale != nil {
				return c, stale
			}
			s.detail = c.String()
			return c, ctx.Err()
		}
		if err := b.chooseSnapshot(ctx, s, &c, snapshots); err != nil {
			return c, err
		}
		if c.snapshot == nil {
			if _, err := b.agent.Host.MkfsPath(); err != nil {
				return c, err
			}
		}
	}
	s.detail = c.String()
	return c, ctx.Err()
}

// chooseSnapshot completes a choice. No answer that lists no eligible snapshot is believed
// alone. A launch that has had a release does not end up blank.
func (b *boot) chooseSnapshot(ctx context.Context, s *step, c *choice, snapshots []ec2ops.Snapshot) (err error) {
	defer b.inEC2.enter()()
	ifNone, still := b.cfg.IfNone, noneStill
	if c.snapshot != nil || slices.ContainsFunc(b.gone, func(v ec2ops.Volume) bool { return v.SnapshotID != "" }) {
		ifNone = config.IfNoneFail
	}
	if ifNone == config.IfNoneBlank {
		still = noneStillBlank
	}
	c.snapshot, c.sizeGiB, err = chooseStart(b.src, config.IfNoneFail, snapshots)
	for until := time.Now().Add(still); errors.Is(err, failure.ErrNoSnapshot) && time.Now().Before(until); {
		s.waiting(Line(err))
		if err := b.pause(ctx, listedPoll, "a snapshot"); err != nil {
			return err
		}
		if snapshots, err = b.agent.Cloud.Snapshots(ctx, b.src.Name); err == nil {
			c.snapshot, c.sizeGiB, err = chooseStart(b.src, config.IfNoneFail, snapshots)
		}
	}
	if errors.Is(err, failure.ErrNoSnapshot) {
		c.snapshot, c.sizeGiB, err = chooseStart(b.src, ifNone, snapshots)
	}
	return err
}

// errSnapshotGone says that the chosen snapshot was deleted before a volume could be made
// from it, by a prune maybe.
var errSnapshotGone = errors.New("the chosen snapshot is gone")

const (
	// noneStill is for how long no eligible snapshot may be listed before that is taken to
	// be so: EC2 is eventually consistent, "a couple of seconds" as a rule. (EC2 API
	// developer guide, "Eventual consistency")
	// For a first volume it is less: somebody may be waiting for it, and the second look
	// sees a release that was there all the same.
	noneStill      = 12 * time.Second
	noneStillBlank = 2 * time.Second

	// listedStill is how long EC2 may list a snapshot that it can't find, or not find one
	// that is new: it is eventually consistent, as a rule within a few seconds.
	listedStill = 30 * time.Second
	// listedPoll is the pause between two looks at that.
	listedPoll = 2 * time.Second
)

// chooseAgain chooses anew when EC2 does not find the snapshot that was chosen. As long as
// it still lists it as the newest, one of the two answers is late.
func (b *boot) chooseAgain(ctx context.Context, gone choice) (c choice, err error) {
	s := b.begin(Choose)
	defer s.end(&err)
	defer b.inEC2.enter()()
	b.note(gone.snapshot.ID + " is gone; choosing again")
	all, err := b.agent.Cloud.Snapshots(ctx, b.src.Name)
	if err != nil {
		return gone, err
	}
	c = gone
	if err := b.chooseSnapshot(ctx, s, &c, all); err != nil {
		return c, err
	}
	s.detail = c.String()
	if c.snapshot.ID != gone.snapshot.ID {
		c.missing = time.Time{}
		return c, nil
	}
	if c.missing.IsZero() {
		c.missing = time.Now()
	}
	if time.Since(c.missing) > listedStill {
		return c, fmt.Errorf("%w: EC2 lists %s, but makes no volume from it: CreateVolume: not found", failure.ErrTemporary, c.snapshot.ID)
	}
	return c, b.pause(ctx, listedPoll, c.snapshot.ID)
}
