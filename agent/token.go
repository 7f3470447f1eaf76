package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

const (
	// maxGenerations bounds the client tokens that a run tries. A token is used up if its
	// volume is deleted. Each token costs one call, and EC2 forgets tokens after about 12 h
	// (measured by the EBS CSI driver), so only a defect reaches this.
	maxGenerations = 100

	// appearTimeout is how long EC2 may not list a volume that it created for our token. EC2
	// is eventually consistent, usually within a few seconds.
	appearTimeout = 30 * time.Second

	// createAttempts is the number of volumes in the state error, or deleted by EC2, after
	// which create fails.
	createAttempts = 3

	// tellWait is the shortest wait for a deleted volume that a note explains: a launch takes
	// some 3 s.
	tellWait = 5 * time.Second

	// tagListTimeout bounds polling the list by tags for a volume that was not found by its id.
	tagListTimeout = 5 * time.Second
)

// request is the state of creating one volume, over several calls and tokens.
type request struct {
	spec          ec2ops.VolumeSpec
	appearTimeout time.Duration // how long to poll for an earlier run's volume
	failed        int           // volumes that ended in the state error
	taken         []string      // volumes that EC2 created for this run and then deleted
	key           string        // the KMS key of those; "" if they were not encrypted
}

// makeVolume creates the volume. The client token is the same in every run, so no crash or
// retry creates a second one. The token of the next generation is used only after the volume
// of the last one is known to be deleted.
func (l *launch) makeVolume(ctx context.Context, s *report.Running, c choice) (placed, error) {
	o := &request{spec: l.spec(c), appearTimeout: appearTimeout}
	var lastErr error // why the last token was used up
	for generation := 1; generation <= maxGenerations; generation++ {
		o.spec.Token = ec2ops.Token(l.Self.InstanceID, l.Self.Zone, l.src.Name, generation)
		began := time.Now()
		p, err := l.createWithToken(ctx, s, o)
		switch {
		case errors.Is(err, errGone):
			if waited := time.Since(began); waited >= tellWait {
				l.Note(fmt.Sprintf("waited %s for EC2 to show the volume of an earlier request: it is deleted", waited.Round(time.Second)))
			}
			if lastErr = err; len(o.taken) == createAttempts {
				return placed{}, o.reclaimedError()
			}
		case errors.Is(err, errVolumeFailed):
			if o.failed++; o.failed == createAttempts {
				return p, err
			}
			l.Note(p.volume.ID + " ended in the state error; deleting it and trying again")
			if err := l.cloud.Volumes.DeleteVolume(ctx, p.volume.ID); err != nil {
				return p, err
			}
			lastErr = err
		default:
			return p, err
		}
	}
	return placed{}, fmt.Errorf("%w: all %d client tokens are used up by deleted volumes: %w", failure.ErrTemporary, maxGenerations, lastErr)
}

// createWithToken creates the volume of one client token and waits until it is available. It
// returns errGone or errVolumeFailed if the volume never will be. On any error p is the volume
// that EC2 returned, if any.
func (l *launch) createWithToken(ctx context.Context, s *report.Running, o *request) (p placed, err error) {
	for begun := time.Now(); ; {
		answer, err := admission.Do(ctx, l.limiter, s, "CreateVolume", func(ctx context.Context) (ec2ops.Volume, error) {
			return l.cloud.Volumes.CreateVolume(ctx, o.spec)
		})
		if err != nil {
			retry, now, err := l.handleCreateError(ctx, s, o, p, err)
			if retry {
				continue
			}
			return now, err
		}
		if isNew(answer) {
			l.made = append(l.made, answer.ID)
		}
		p = l.placedFrom(answer)
		answered := time.Now()
		if answer.State == ec2ops.VolumeAvailable || answer.State == ec2ops.VolumeInUse {
			// CreateVolume may report a later state than DescribeVolumes. If we attached a
			// volume that is not described yet, the next run could not find it, though it is
			// mounted.
			answer.State = ec2ops.VolumeCreating
		}
		v, err := l.waitAvailable(ctx, s, answer, paceCreated())
		switch {
		case errors.Is(err, errGone) && errors.Is(err, ec2ops.ErrNotFound):
			return p, o.gone(p.volume, err)
		case err == nil:
			p.volume = v
			return p, nil
		case !errors.Is(err, ec2ops.ErrNotShown):
			return p, err
		}
		// Not found by id: the volume is new and not shown yet, or it is deleted.
		if earlier, findErr := l.findExisting(ctx, tagListTimeout); findErr != nil {
			return p, findErr
		} else if earlier.volume != nil {
			return l.adoptListed(ctx, s, p, *earlier.volume)
		}
		switch {
		case p.volume.Age+time.Since(answered) >= ec2ops.StaleTokenAge:
			return p, fmt.Errorf("%w: by its create time EC2 created %s %s ago, but does not show it: %w", errGone, p.volume.ID, p.volume.Age.Round(time.Second), err)
		case time.Since(begun) >= ec2ops.NeverShown.Within:
			return p, err
		}
		s.Waiting(p.volume.ID + " is not shown; retrying CreateVolume with the same client token")
	}
}

// handleCreateError handles an error of CreateVolume; retry says to call it again. p is the
// volume that EC2 returned earlier for the same token, if any.
func (l *launch) handleCreateError(ctx context.Context, s *report.Running, o *request, p placed, err error) (retry bool, now placed, _ error) {
	switch {
	case errors.Is(err, ec2ops.ErrTokenMismatch) && p.origin != noVolume:
		// EC2 accepted these parameters before, so the volume was deleted.
		return false, p, o.gone(p.volume, err)
	case errors.Is(err, ec2ops.ErrTokenMismatch):
		now, err := l.adoptEarlier(ctx, s, o, err)
		return false, now, err
	case errors.Is(err, ec2ops.ErrLimit):
		// EC2 checks limits before tokens, so the volume may exist.
		if earlier, findErr := l.findExisting(ctx, 0); findErr == nil && earlier.volume != nil {
			return false, l.placedFrom(*earlier.volume), nil
		}
		if o.spec.InitializationRate == 0 || p.origin != noVolume { // changed parameters would be a mismatch
			return false, p, err
		}
		// A region limits how much is initialized at a rate at the same time. Retry with the
		// same token: if EC2 stored it, the retry is a mismatch and the next generation
		// follows, but there is never a second volume.
		l.Note("creating the volume without an initialization rate: " + failure.Line(err))
		o.spec.InitializationRate = 0
		return true, p, nil
	case errors.Is(err, ec2ops.ErrNotFound) && o.spec.SnapshotID != "":
		return false, p, fmt.Errorf("%w: %w", errSnapshotGone, err)
	}
	return false, p, err
}

// adoptListed adopts a listed volume if EC2 does not show the one that CreateVolume returned.
func (l *launch) adoptListed(ctx context.Context, s *report.Running, named placed, v ec2ops.Volume) (placed, error) {
	p, pace := l.placedFrom(v), ec2ops.PollAny
	if v.ID == named.volume.ID {
		pace = paceCreated()
	}
	now, err := l.waitAvailable(ctx, s, v, pace)
	if err == nil {
		p.volume = now
	}
	return p, err
}

// placedFrom returns a volume of this instance and source, with its origin.
func (l *launch) placedFrom(v ec2ops.Volume) placed {
	if slices.Contains(l.made, v.ID) {
		return placed{volume: v, origin: created}
	}
	return placed{volume: v, origin: adopted}
}

// paceCreated is the poll schedule for a volume that CreateVolume returned.
func paceCreated() ec2ops.PollSchedule {
	pace := ec2ops.PollCreated
	pace.Unseen = ec2ops.StaleToken.Within
	return pace
}

// newVolumeAge is the largest age, by EC2's clock, of a volume that counts as created by this
// run. CreateVolume with a used token returns the volume of the first call, and a call is
// retried while EC2 throttles it or does not respond.
const newVolumeAge = 2 * time.Minute

// isNew says whether the volume that CreateVolume returned is new, and not one of an earlier
// run that may have been in service. Only a new one may be deleted after a failure.
func isNew(v ec2ops.Volume) bool {
	return v.Age < newVolumeAge && v.Tags[ec2ops.TagFormatted] == "" && v.Tags[ec2ops.TagStarted] == ""
}

// adoptEarlier handles a client token that was used with other parameters: an earlier run
// wanted another volume, for example from an older snapshot. It adopts that run's volume, or
// returns errGone if that is deleted.
func (l *launch) adoptEarlier(ctx context.Context, s *report.Running, o *request, mismatch error) (placed, error) {
	gone := fmt.Errorf("%w: %w", errGone, mismatch)
	if len(l.gone) > 0 { // this run deleted the token's volume
		return placed{}, gone
	}
	s.Waiting("the volume that an earlier run asked for")
	earlier, err := l.findExisting(ctx, o.appearTimeout)
	if err != nil {
		return placed{}, err
	}
	if earlier.volume != nil {
		return l.placedFrom(*earlier.volume), nil
	}
	o.appearTimeout = 0 // poll for it only once
	return placed{}, gone
}

// gone notes a volume that EC2 created and that no longer exists. If it is new, nobody else
// deleted it: EC2 did.
func (o *request) gone(v ec2ops.Volume, cause error) error {
	if v.Age < ec2ops.StaleTokenAge {
		o.taken = append(o.taken, v.ID)
		if v.Encrypted {
			o.key = cmp.Or(v.KMSKey, o.spec.KMSKey, "the account's key for EBS")
		}
	}
	return fmt.Errorf("%w: %w", errGone, cause)
}

// reclaimedError is the error for volumes that EC2 created and then deleted. EC2 does so if
// it may not use the KMS key, and no response names the key. (aws-ebs-csi-driver#3010,
// kubernetes#62171)
func (o *request) reclaimedError() error {
	what := fmt.Sprintf("CreateVolume: EC2 created and then deleted %s", strings.Join(o.taken, ", "))
	if o.key == "" {
		return failure.New(failure.ErrTemporary, what)
	}
	return failure.New(ec2ops.ErrKMS, fmt.Sprintf("%s, as it does if it may not use the KMS key: %s", what, o.key))
}
