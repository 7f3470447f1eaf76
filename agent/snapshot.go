package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// The steps of [Agent.Snapshot], beside Identify, Survey and Create.
const (
	Flush    Step = "flush"  // what is dirty, while others write
	Freeze   Step = "freeze" // from here on nobody can write
	Thaw     Step = "thaw"   // from here on everybody can
	Lookup   Step = "lookup" // whether there is a snapshot, after a lost answer
	Complete Step = "wait"   // until EC2 has completed it
)

// DefaultFreezeTimeout is how long a snapshot may keep writers waiting. EC2 answers
// CreateSnapshot within a second as a rule, and is not waited for longer than 10 s.
const DefaultFreezeTimeout = 10 * time.Second

// lookupFor is how long a snapshot whose answer was lost may take to appear in EC2's
// lists: eventual consistency is a couple of seconds as a rule.
const lookupFor = 30 * time.Second

// tagRetry is the pause before a snapshot that EC2 does not know yet is tagged again.
const tagRetry = time.Second

// SnapshotOptions are what is wanted of a snapshot.
type SnapshotOptions struct {
	Description   string            // "": the revision of the release, if there is one
	Candidate     bool              // not eligible until it is promoted
	Wait          bool              // until EC2 has completed it
	FreezeTimeout time.Duration     // for how long writers may have to wait
	Tags          map[string]string // further ones
	CopyTags      bool              // the volume's own tags too
	Keep          int               // eligible snapshots that stay, 0 for all; see [Prune]
}

// Validate gives the first thing that is wrong with the options; it wraps [failure.ErrUsage].
func (o SnapshotOptions) Validate() error {
	if o.FreezeTimeout <= 0 || o.FreezeTimeout > DefaultFreezeTimeout {
		return config.Usagef("freeze-timeout: %s is not more than 0 and at most %s", o.FreezeTimeout, DefaultFreezeTimeout)
	}
	if o.Keep < 0 {
		return config.Usagef("keep: %d is negative", o.Keep)
	}
	if n := len([]rune(o.Description)); n > ec2ops.DescriptionMax {
		return config.Usagef("description: its %d characters are more than the %d that EC2 takes", n, ec2ops.DescriptionMax)
	}
	for k, v := range o.Tags {
		if err := config.ValidateTag(k, v); err != nil {
			return err
		}
	}
	return nil
}

// Taken is a snapshot that was taken, in a [SourceReport].
type Taken struct {
	Snapshot    string        `json:"snapshot"`
	State       string        `json:"state"`
	Start       time.Time     `json:"start"`
	SizeGiB     int32         `json:"size_gib"`
	Description string        `json:"description,omitempty"`
	Revision    string        `json:"revision,omitempty"`
	Run         string        `json:"run"`
	Candidate   bool          `json:"candidate"`
	Pause       time.Duration `json:"pause_ns"` // for which writers had to wait
}

// Snapshot takes a snapshot of every source, as it is mounted here now: flushed and
// frozen, so that it holds all that was written before. However it ends, the file
// system is thawed: by a process of its own if this one is killed.
//
// A snapshot of which it is not sure that it was taken while the file system was
// frozen is rejected, and the error is [ErrTemporary].
//
// From before the freeze until that is done [Agent.Hold] is in force.
func (a *Agent) Snapshot(ctx context.Context, cfg config.Config, o SnapshotOptions) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	return a.eachSource(cfg, func(b *boot) error { return b.snapshot(ctx, o) })
}

func (b *boot) snapshot(ctx context.Context, o SnapshotOptions) error {
	if _, err := b.identify(ctx); err != nil {
		return err
	}
	at, err := b.findSource(ctx)
	if err != nil {
		return err
	}
	if err := b.flush(at); err != nil {
		return err
	}
	taken, err := b.take(ctx, at, o)
	if err != nil {
		return err
	}
	b.report.State, b.report.Changed, b.report.Taken = StateReady, true, &taken
	if o.Wait {
		if err := b.complete(ctx, &taken); err != nil {
			return err
		}
	}
	if o.Keep > 0 {
		return b.prune(ctx, o.Keep)
	}
	return nil
}

// prune deletes the snapshots beyond the newest ones; those that EC2 has not yet
// completed, this run's too, do not count.
func (b *boot) prune(ctx context.Context, keep int) (err error) {
	s := b.begin(Delete)
	defer s.end(&err)
	defer b.inEC2.enter()()
	deleted, err := releases.Prune(ctx, b.agent.Cloud, b.src.Name, releases.PruneOptions{Keep: keep, LeaveInUse: true}, time.Now())
	n := 0
	for _, p := range deleted {
		if p.Deleted {
			n++
		} else if err == nil {
			b.note(p.ID + ": " + p.Reason)
		}
	}
	s.detail = fmt.Sprintf("%d that are no longer needed", n)
	return err
}

// mounted is a source at work on this instance.
type mounted struct {
	volume     ec2ops.Volume
	mountpoint string
	revision   string
}

// findSource finds the source's volume and where it is mounted. The call that looks
// at the volume also brings what the next one needs, credentials and a connection,
// before anybody has to wait for it.
func (b *boot) findSource(ctx context.Context) (at mounted, err error) {
	s := b.begin(Survey)
	defer s.end(&err)
	r, dirs, err := b.mountedDirs()
	if err != nil {
		return at, err
	}
	defer b.inEC2.enter()()
	if at.volume, err = b.agent.Cloud.Volume(ctx, r.Volume); err != nil {
		return at, err
	}
	if attachment, ok := at.volume.AttachmentTo(b.self.InstanceID); !ok || attachment.State == ec2ops.Detaching {
		return at, fmt.Errorf("%w: %s is %s, not attached to this instance", failure.ErrTemporary, r.Volume, at.volume)
	}
	at.mountpoint = dirs[0]
	for _, dir := range dirs[1:] { // where the application sees it, so that its links hold
		if at.revision == "" {
			at.revision = b.agent.Host.Revision(dir)
		}
	}
	if at.revision == "" {
		at.revision = b.agent.Host.Revision(at.mountpoint)
	}
	b.report.fromRecord(r)
	b.report.Mount, b.report.Binds = at.mountpoint, dirs[1:]
	s.detail = r.Volume + " at " + at.mountpoint
	if at.revision != "" {
		s.detail += ", revision " + at.revision[:min(len(at.revision), 12)]
	}
	return at, nil
}

// mountedDirs gives what the last finished launch has mounted, as the kernel shows
// it now: the mountpoint of the whole file system, then the binds. A source that is
// only just being mounted or unmounted is [ErrTemporary].
func (b *boot) mountedDirs() (r Record, dirs []string, err error) {
	notReady := func(why string) (Record, []string, error) {
		return r, nil, fmt.Errorf("%w: %s is not ready here: %s; snapsource up makes it so", failure.ErrTemporary, b.src.Name, why)
	}
	if r, err = b.agent.Host.LoadRecord(b.src.Name); err != nil || r.Ready.IsZero() || r.Instance != b.self.InstanceID {
		return notReady("no launch has finished since this instance was booted")
	}
	dev, err := b.agent.Host.Find(mountfs.Volume{ID: r.Volume, Name: r.Device, Size: r.Size})
	if err != nil {
		return notReady(failure.Line(err))
	}
	mounts, err := b.agent.Host.Mounts()
	if err != nil {
		return r, nil, err
	}
	var binds []string
	for _, m := range mounts {
		switch {
		case m.Major != dev.Major || m.Minor != dev.Minor:
		case m.Root != "/":
			binds = append(binds, m.Target)
		case m.Target == b.src.Mount && mountedAt(mounts, m.Target, dev):
			dirs = append([]string{m.Target}, dirs...)
		case mountedAt(mounts, m.Target, dev): // up was told another place
			dirs = append(dirs, m.Target)
		}
	}
	if len(dirs) == 0 {
		return notReady(r.Volume + " is not mounted")
	}
	return r, append(dirs[:1], binds...), nil
}

func (b *boot) flush(at mounted) (err error) {
	s := b.begin(Flush)
	defer s.end(&err)
	s.detail = at.mountpoint
	return b.agent.Host.Flush(at.mountpoint)
}

// take freezes, has EC2 take the snapshot, and thaws as soon as EC2 has answered,
// before anything else is done. Until a snapshot in doubt is rejected nothing is written:
// a log in the frozen file system would block, and so would a pipe that nobody reads.
func (b *boot) take(ctx context.Context, at mounted, o SnapshotOptions) (Taken, error) {
	taken := Taken{Description: o.Description, Revision: at.revision, Run: rand.Text(), Candidate: o.Candidate}
	if taken.Description == "" {
		taken.Description = at.revision
	}
	spec := ec2ops.SnapshotSpec{VolumeID: at.volume.ID, Description: taken.Description, Tags: b.snapshotTags(at, o, taken.Run)}

	defer b.agent.hold()()
	call, cancel := context.WithTimeoutCause(ctx, o.FreezeTimeout,
		failure.New(failure.ErrTemporary, fmt.Sprintf("no answer within %s, for which writers may have to wait", o.FreezeTimeout)))
	defer cancel()
	call, stop := context.WithCancelCause(call)
	defer stop(nil)
	frozen, err := b.freeze(at, o.FreezeTimeout, func() { stop(mountfs.ErrThawed) })
	if err != nil {
		return taken, err
	}
	snap, err := b.createSnapshot(call, spec)
	pause, thawErr := b.thaw(frozen)

	taken.Snapshot, taken.State, taken.Start, taken.SizeGiB, taken.Pause = snap.ID, snap.State, snap.Start, snap.SizeGiB, pause
	switch {
	case errors.Is(err, ec2ops.ErrOutcomeUnknown):
		err = b.lookup(ctx, taken.Run, err)
	case err == nil && errors.Is(thawErr, mountfs.ErrThawed):
		err = b.distrust(ctx, snap.ID, "the file system was thawed before EC2 answered")
	}
	if errors.Is(thawErr, mountfs.ErrThawed) && err != nil {
		return taken, err // which says what that means
	}
	return taken, errors.Join(err, thawErr)
}

// snapshotTags are the tags of the create call. Without the Name of its source no
// launch takes a snapshot.
func (b *boot) snapshotTags(at mounted, o SnapshotOptions, run string) map[string]string {
	tags := map[string]string{}
	if o.CopyTags {
		for k, v := range at.volume.Tags {
			if config.ValidateTag(k, v) == nil { // leaves out Name, and what is ours or AWS's
				tags[k] = v
			}
		}
	}
	maps.Copy(tags, o.Tags)
	if o.Candidate {
		tags[ec2ops.TagCandidate] = b.src.Name
	} else {
		tags[ec2ops.TagName] = b.src.Name
	}
	tags[ec2ops.TagSource] = b.src.Name
	tags[ec2ops.TagInstance] = b.self.InstanceID
	tags[ec2ops.TagVolume] = at.volume.ID
	tags[ec2ops.TagRun] = run
	if at.revision != "" {
		tags[ec2ops.TagRevision] = at.revision
	}
	return tags
}

// hold has nothing written until release is called.
func (a *Agent) hold() (release func()) {
	if a.Hold == nil {
		return func() {}
	}
	return a.Hold()
}

func (b *boot) freeze(at mounted, limit time.Duration, lost func()) (f Frozen, err error) {
	s := b.begin(Freeze)
	defer s.end(&err)
	s.detail = at.mountpoint
	return b.agent.Host.Freeze(at.mountpoint, limit, lost)
}

func (b *boot) createSnapshot(ctx context.Context, spec ec2ops.SnapshotSpec) (snap ec2ops.Snapshot, err error) {
	s := b.begin(Create)
	defer s.end(&err)
	defer b.inEC2.enter()()
	snap, err = b.agent.Cloud.CreateSnapshot(ctx, spec)
	s.detail = fmt.Sprintf("%s of %s, %d GiB", snap.ID, spec.VolumeID, snap.SizeGiB)
	return snap, err
}

func (b *boot) thaw(f Frozen) (pause time.Duration, err error) {
	s := b.begin(Thaw)
	defer s.end(&err)
	pause, err = f.Thaw()
	s.detail = fmt.Sprintf("writers had to wait for %d ms", pause.Milliseconds())
	return pause, err
}

// lookup finds out whether a call whose answer was lost has left a snapshot, and
// rejects it: EC2 may have taken it after the file system was thawed. It gives the
// error of the run. It looks even when the run is to end.
func (b *boot) lookup(ctx context.Context, run string, failure error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*lookupFor)
	defer cancel()
	s := b.begin(Lookup)
	leave := b.inEC2.enter()
	s.waiting("whether EC2 has taken the snapshot all the same")
	found, err := b.agent.Cloud.SnapshotsWithin(ctx, ec2ops.TagRun, run, lookupFor)
	leave()
	s.detail = fmt.Sprintf("%d snapshots of this run", len(found))
	s.end(&err)
	if err != nil {
		return fmt.Errorf("%w; if there is a snapshot with the tag %s=%s, reject it: %w", failure, ec2ops.TagRun, run, err)
	}
	if len(found) == 0 {
		return fmt.Errorf("%w; no snapshot with the tag %s=%s has appeared within %s", failure, ec2ops.TagRun, run, lookupFor)
	}
	for _, snap := range found {
		failure = errors.Join(failure, b.distrust(ctx, snap.ID, "no answer of EC2's came while the file system was frozen"))
	}
	return failure
}

// distrust rejects a snapshot of this run that may not be consistent, and gives the
// error of the run.
func (b *boot) distrust(ctx context.Context, id, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupFor)
	defer cancel()
	defer b.inEC2.enter()()
	tags := releases.Rejection(b.src.Name, why, time.Now())
	err := b.agent.Cloud.Tag(ctx, id, tags)
	for errors.Is(err, ec2ops.ErrNotFound) && ctx.Err() == nil { // it is that new
		select {
		case <-ctx.Done():
		case <-time.After(tagRetry):
			err = b.agent.Cloud.Tag(ctx, id, tags)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s may hold half of what was written (%s) and could not be rejected; run snapsource reject %s: %w",
			failure.ErrTemporary, id, why, id, err)
	}
	return fmt.Errorf("%w: %s may hold half of what was written, and is rejected: %s", failure.ErrTemporary, id, why)
}

// complete waits until EC2 has completed the snapshot, and tells every percent.
func (b *boot) complete(ctx context.Context, t *Taken) (err error) {
	s := b.begin(Complete)
	defer s.end(&err)
	defer b.inEC2.enter()()
	last := -1
	snap, err := b.agent.Cloud.WaitSnapshot(ctx, t.Snapshot, func(seen ec2ops.Snapshot) {
		percent, err := strconv.Atoi(strings.TrimSuffix(seen.Progress, "%"))
		if err != nil || percent == last { // EC2 tells none at first
			return
		}
		last = percent
		b.emit(Event{Step: Complete, Phase: Waiting, Detail: t.Snapshot + " is " + seen.State, Percent: &percent,
			At: time.Now(), Took: time.Since(s.start)})
	})
	if err != nil {
		return err
	}
	t.State = snap.State
	s.detail = t.Snapshot + " is " + snap.State
	return nil
}
