package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// lookupTimeout is how long EC2 may not list a snapshot whose response was lost. EC2 is
// eventually consistent, usually within a couple of seconds.
const lookupTimeout = 30 * time.Second

// tagRetryPause is the pause before tagging is retried on a snapshot that EC2 does not find yet.
const tagRetryPause = time.Second

// lookup looks for a snapshot whose response was lost, and rejects it: EC2 may have taken it
// after the file system was thawed. It does so even if ctx has ended. It returns the error of
// the run.
func (s *snapshot) lookup(ctx context.Context, run string, cause error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*lookupTimeout)
	defer cancel()
	step := s.run.Begin(report.Lookup)
	leave := s.run.InEC2()
	step.Waiting("looking for the snapshot, as EC2's response was lost")
	found, err := s.Cloud.SnapshotsWithin(ctx, ec2ops.TagRun, run, lookupTimeout)
	leave()
	step.Detail = fmt.Sprintf("%d snapshots of this run", len(found))
	step.End(&err)
	if err != nil {
		return fmt.Errorf("%w; if there is a snapshot with the tag %s=%s, reject it: %w", cause, ec2ops.TagRun, run, err)
	}
	if len(found) == 0 {
		return fmt.Errorf("%w; no snapshot with the tag %s=%s has appeared within %s", cause, ec2ops.TagRun, run, lookupTimeout)
	}
	for _, snap := range found {
		cause = failure.FollowedBy(cause, s.rejectSuspect(ctx, snap.ID, "EC2 did not respond while the file system was frozen"))
	}
	return failure.Advise(cause, "run snapsource snapshot again, once what could not be rejected is")
}

// rejectSuspect rejects a snapshot of this run that may be inconsistent. It returns the error
// of the run.
func (s *snapshot) rejectSuspect(ctx context.Context, id, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	defer s.run.InEC2()()
	tags := releases.Rejection(s.source.Name, why, time.Now())
	err := s.Cloud.Tag(ctx, id, tags)
	for errors.Is(err, ec2ops.ErrNotFound) && ctx.Err() == nil { // EC2 does not find a new one yet
		select {
		case <-ctx.Done():
		case <-time.After(tagRetryPause):
			err = s.Cloud.Tag(ctx, id, tags)
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %s may be inconsistent (%s) and could not be rejected; run snapsource reject %s: %w",
			failure.ErrTemporary, id, why, id, err)
		return failure.Advise(err, "run snapsource reject "+id+", then snapsource snapshot again")
	}
	err = fmt.Errorf("%w: %s may be inconsistent, and is rejected: %s", failure.ErrTemporary, id, why)
	return failure.Advise(err, "run snapsource snapshot again")
}
