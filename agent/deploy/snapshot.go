package deploy

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
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Snapshot takes a snapshot of every source that is mounted here. It flushes and freezes the
// file system, so that the snapshot holds all earlier writes. The file system is always
// thawed; if this process is killed, by a guard process.
//
// If the snapshot may not have been taken while the file system was frozen, Snapshot rejects
// it and returns [failure.ErrTemporary].
//
// It holds output by [Deploy.Hold] from before the freeze until then.
func (d *Deploy) Snapshot(ctx context.Context, cfg config.Config, o Options) (report.Report, error) {
	if err := o.Validate(); err != nil {
		return report.Report{}, err
	}
	if _, err := d.Host.Mounts(); errors.Is(err, mountfs.ErrUnsupported) {
		return report.Report{}, err // at once, not after waiting for a metadata service
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	return report.Each(cfg.Sources, d.Events, func(run *report.Run, src config.Source) error {
		return (&snapshot{d, run, src}).make(ctx, o)
	})
}

// snapshot is one snapshot of one source.
type snapshot struct {
	*Deploy
	run    *report.Run
	source config.Source
}

func (s *snapshot) make(ctx context.Context, o Options) error {
	if err := s.identify(ctx); err != nil {
		return err
	}
	at, err := s.findSource(ctx)
	if err != nil {
		return err
	}
	var hot *report.Hot
	if !o.NoHot {
		hot = s.recordHotSet(ctx, at)
	}
	if err := s.flush(at); err != nil {
		return err
	}
	taken, err := s.take(ctx, at, o)
	if err != nil {
		return err
	}
	taken.Hot = hot
	s.run.Report.State, s.run.Report.Changed, s.run.Report.Taken = report.StateReady, true, &taken
	s.run.Report.Snapshot, s.run.Report.Start, s.run.Report.Revision = taken.Snapshot, &taken.Start, taken.Revision
	if o.Wait {
		if err := s.complete(ctx, &taken); err != nil {
			return err
		}
	}
	for _, template := range o.Templates {
		if err := s.publish(ctx, template, taken.Snapshot); err != nil {
			return err
		}
	}
	if o.Keep > 0 {
		s.prune(ctx, o.Keep)
	}
	return nil
}

func (s *snapshot) identify(ctx context.Context) (err error) {
	step := s.run.Begin(report.Identify)
	defer step.End(&err)
	self, err := s.Cloud.Identify(ctx, step.Waiting)
	if err != nil {
		return err
	}
	s.run.Identified(self)
	step.Detail = fmt.Sprintf("%s, account %s", self.InstanceType, self.AccountID)
	return nil
}

func (s *snapshot) flush(at mounted) (err error) {
	step := s.run.Begin(report.Flush)
	defer step.End(&err)
	step.Detail = at.mountpoint
	return s.Host.Flush(at.mountpoint)
}

// take freezes, calls CreateSnapshot, and thaws as soon as that returns, before anything
// else. Output is held until a snapshot in doubt is rejected: a write to a log in the frozen
// file system would block, and so would one to a pipe that nobody reads.
func (s *snapshot) take(ctx context.Context, at mounted, o Options) (report.Taken, error) {
	taken := report.Taken{Description: o.Description, Revision: at.revision, Run: rand.Text(), Candidate: o.Candidate}
	if taken.Description == "" {
		taken.Description = at.revision
	}
	spec := ec2ops.SnapshotSpec{VolumeID: at.volume.ID, Description: taken.Description, Tags: s.tags(at, o, taken.Run)}

	if s.Hold != nil {
		defer s.Hold()()
	}
	call, cancel := context.WithTimeoutCause(ctx, o.FreezeTimeout,
		failure.New(failure.ErrTemporary, fmt.Sprintf("no response within %s, the longest that writers may be blocked", o.FreezeTimeout)))
	defer cancel()
	call, stop := context.WithCancelCause(call)
	defer stop(nil)
	frozen, err := s.freeze(at, o.FreezeTimeout, func() { stop(mountfs.ErrThawed) })
	if err != nil {
		return taken, err
	}
	snap, err := s.createSnapshot(call, spec)
	pause, thawErr := s.thaw(frozen)

	taken.Snapshot, taken.State, taken.Start, taken.SizeGiB, taken.Pause = snap.ID, snap.State, snap.Start, snap.SizeGiB, pause
	switch {
	case errors.Is(err, ec2ops.ErrOutcomeUnknown):
		err = s.lookup(ctx, taken.Run, err)
	case err == nil && errors.Is(thawErr, mountfs.ErrThawed):
		err = s.rejectSuspect(ctx, snap.ID, "the file system was thawed before EC2 responded")
	}
	if errors.Is(thawErr, mountfs.ErrThawed) && err != nil {
		return taken, err // err explains the early thaw
	}
	return taken, failure.FollowedBy(err, thawErr)
}

// tags returns the tags for CreateSnapshot. Launches take only snapshots with the tag Name of
// their source.
func (s *snapshot) tags(at mounted, o Options, run string) map[string]string {
	tags := map[string]string{}
	if o.CopyTags {
		for k, v := range at.volume.Tags {
			if config.ValidateTag(k, v) == nil { // without Name, and snapsource's and AWS's own
				tags[k] = v
			}
		}
	}
	maps.Copy(tags, o.Tags)
	if o.Candidate {
		tags[ec2ops.TagCandidate] = s.source.Name
	} else {
		tags[ec2ops.TagName] = s.source.Name
	}
	tags[ec2ops.TagSource] = s.source.Name
	tags[ec2ops.TagInstance] = s.run.Self.InstanceID
	tags[ec2ops.TagVolume] = at.volume.ID
	tags[ec2ops.TagRun] = run
	if at.revision != "" {
		tags[ec2ops.TagRevision] = at.revision
	}
	return tags
}

func (s *snapshot) freeze(at mounted, limit time.Duration, lost func()) (f Frozen, err error) {
	step := s.run.Begin(report.Freeze)
	defer step.End(&err)
	step.Detail = at.mountpoint
	return s.Host.Freeze(at.mountpoint, limit, lost)
}

func (s *snapshot) createSnapshot(ctx context.Context, spec ec2ops.SnapshotSpec) (snap ec2ops.Snapshot, err error) {
	step := s.run.Begin(report.Create)
	defer step.End(&err)
	defer s.run.InEC2()()
	snap, err = s.Cloud.CreateSnapshot(ctx, spec)
	step.Detail = fmt.Sprintf("%s of %s, %d GiB", snap.ID, spec.VolumeID, snap.SizeGiB)
	return snap, err
}

func (s *snapshot) thaw(f Frozen) (pause time.Duration, err error) {
	step := s.run.Begin(report.Thaw)
	defer step.End(&err)
	pause, err = f.Thaw()
	step.Detail = fmt.Sprintf("writers waited %d ms", pause.Milliseconds())
	return pause, err
}

// complete waits until EC2 has completed the snapshot, and reports each percent.
func (s *snapshot) complete(ctx context.Context, t *report.Taken) (err error) {
	step := s.run.Begin(report.Complete)
	defer step.End(&err)
	defer s.run.InEC2()()
	last := -1
	snap, err := s.Cloud.WaitSnapshot(ctx, t.Snapshot, func(now ec2ops.Snapshot) {
		percent, err := strconv.Atoi(strings.TrimSuffix(now.Progress, "%"))
		if err != nil || percent == last || now.State == ec2ops.SnapshotCompleted {
			return // at first EC2 reports none; the end is no progress
		}
		last = percent
		step.Progress(t.Snapshot+" is "+now.State, percent)
	})
	if err != nil {
		return err
	}
	t.State = snap.State
	step.Detail = t.Snapshot + " is " + snap.State
	return nil
}

// prune deletes all but the newest snapshots. Pending ones, including this run's, do not count.
// A failure is only a note: the snapshot is taken, and the next run prunes what is left.
func (s *snapshot) prune(ctx context.Context, keep int) {
	step := s.run.Begin(report.Delete)
	var none error
	defer step.End(&none)
	defer s.run.InEC2()()
	list, err := releases.Prune(ctx, s.Releases, s.source.Name, releases.PruneOptions{Keep: keep, Templates: s.Templates}, time.Now())
	n := 0
	for _, p := range list {
		if p.Deleted {
			n++
		} else if p.Kept != "" {
			s.run.Note(p.ID + " is kept: " + p.Kept)
		}
	}
	for _, failed := range failure.Branches(err) {
		s.run.Note("an old snapshot or volume could not be deleted: " + failure.Line(failed))
	}
	step.Detail = fmt.Sprintf("%d that are no longer needed", n)
}
