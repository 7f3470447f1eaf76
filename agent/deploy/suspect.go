package deploy

import (
	"context"
	"errors"
	"fmt"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"time"
)

// lookupFor is how long a snapshot whose answer was lost may take to appear in EC2's
// lists: eventual consistency is a couple of seconds as a rule.
const lookupTimeout = 30 * time.Second

// tagRetry is the pause before a snapshot that EC2 does not know yet is tagged again.
const tagRetryPause = time.Second

// lookup finds out whether a call whose answer was lost has left a snapshot, and
// rejects it: EC2 may have taken it after the file system was thawed. It gives the
// error of the run. It does so even when the run is to end.
func (s *snapshot) lookup(ctx context.Context, run string, cause error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*lookupTimeout)
	defer cancel()
	step := s.run.Begin(report.Lookup)
	leave := s.run.InEC2()
	step.Waiting("whether EC2 has taken the snapshot all the same")
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
		cause = errors.Join(cause, s.rejectSuspect(ctx, snap.ID, "no answer of EC2's came while the file system was frozen"))
	}
	return cause
}

// rejectSuspect rejects a snapshot of this run that may not be consistent, and gives the
// error of the run.
func (s *snapshot) rejectSuspect(ctx context.Context, id, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	defer s.run.InEC2()()
	tags := releases.Rejection(s.source.Name, why, time.Now())
	err := s.Cloud.Tag(ctx, id, tags)
	for errors.Is(err, ec2ops.ErrNotFound) && ctx.Err() == nil { // it is that new
		select {
		case <-ctx.Done():
		case <-time.After(tagRetryPause):
			err = s.Cloud.Tag(ctx, id, tags)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s may hold half of what was written (%s) and could not be rejected; run snapsource reject %s: %w",
			failure.ErrTemporary, id, why, id, err)
	}
	return fmt.Errorf("%w: %s may hold half of what was written, and is rejected: %s", failure.ErrTemporary, id, why)
}
