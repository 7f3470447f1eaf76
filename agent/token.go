package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"snapsource/agent/admission"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"strings"
	"time"
)

const (
	// generations bounds how many volumes of earlier generations (all gone by now)
	// a run steps past to find a client token that is still unused. EC2 forgets a
	// token after about 12 h (measured by the EBS CSI driver), and each step costs
	// one call, so only a defect reaches this.
	maxGenerations = 100

	// mayAppear is how long a volume that EC2 made under our token may be missing
	// from lists: EC2 is eventually consistent, as a rule within a few seconds.
	appearTimeout = 30 * time.Second

	// createTries is how many volumes may end in the state error, or be taken back by EC2,
	// before we give up.
	createAttempts = 3

	// listedWithin is how long the list by tags is asked for a volume that could not be
	// found by its id.
	tagListTimeout = 5 * time.Second
)

// request is what a run asks EC2 for until it has a volume.
type request struct {
	spec          ec2ops.VolumeSpec
	appearTimeout time.Duration // how long a list is waited for that may lack an earlier run's volume
	failed        int           // volumes that went to the state error
	taken         []string      // volumes that EC2 made for this run and took back
	key           string        // the KMS key of those; "" if they were not encrypted
}

// makeVolume has EC2 make the volume. The client token is the same in every run, so
// no crash or retry makes a second one; the next generation's token is used only
// once the volume of the last is known to be gone.
func (l *launch) makeVolume(ctx context.Context, s *report.Running, c choice) (placed, error) {
	o := &request{spec: l.spec(c), appearTimeout: appearTimeout}
	var lastErr error // by what the last token was
	for generation := 1; generation <= maxGenerations; generation++ {
		o.spec.Token = ec2ops.Token(l.Self.InstanceID, l.Self.Zone, l.src.Name, generation)
		p, err := l.createWithToken(ctx, s, o)
		switch {
		case errors.Is(err, errGone):
			if lastErr = err; len(o.taken) == createAttempts {
				return placed{}, o.reclaimedError()
			}
		case errors.Is(err, errVolumeFailed):
			if o.failed++; o.failed == createAttempts {
				return p, err
			}
			l.Note(p.volume.ID + " went to the state error; deleting it and trying once more")
			if err := l.cloud.Volumes.DeleteVolume(ctx, p.volume.ID); err != nil {
				return p, err
			}
			lastErr = err
		default:
			return p, err
		}
	}
	return placed{}, fmt.Errorf("%w: all %d client tokens are used up by volumes that are gone: %w", failure.ErrTemporary, maxGenerations, lastErr)
}

// redeem gives the volume that one client token stands for, once it is available; errGone
// or errFailed when it never will be. With other errors too p is the volume that EC2 has
// named, if it has.
func (l *launch) createWithToken(ctx context.Context, s *report.Running, o *request) (p placed, err error) {
	for begun := time.Now(); ; {
		answer, err := admission.Do(ctx, l.limiter, s, "CreateVolume", func(ctx context.Context) (ec2ops.Volume, error) {
			return l.cloud.Volumes.CreateVolume(ctx, o.spec)
		})
		if err != nil {
			again, now, err := l.handleCreateError(ctx, s, o, p, err)
			if again {
				continue
			}
			return now, err
		}
		p = placed{volume: answer, origin: originOf(answer)}
		answered := time.Now()
		if answer.State == ec2ops.VolumeAvailable || answer.State == ec2ops.VolumeInUse {
			// By the token EC2 may know more of a volume than Describe shows. What is attached
			// before it is shown can't be found by the next run, though it is mounted.
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
		// Neither a new volume that EC2 shows late nor one that is gone can be found.
		if earlier, findErr := l.findExisting(ctx, tagListTimeout); findErr != nil {
			return p, findErr
		} else if earlier.volume != nil {
			return l.adoptListed(ctx, s, p, *earlier.volume)
		}
		switch {
		case p.volume.Age+time.Since(answered) >= ec2ops.ForgottenAge:
			return p, fmt.Errorf("%w: EC2 made %s %s ago by its own account, and shows it nowhere: %w", errGone, p.volume.ID, p.volume.Age.Round(time.Second), err)
		case time.Since(begun) >= ec2ops.NeverShown.Within:
			return p, err
		}
		s.Waiting(p.volume.ID + " is not shown; asking EC2 again what the client token stands for")
	}
}

// createFailed decides what to do about an error of CreateVolume: again has it called
// again. p is the volume that EC2 has named before for the same token, if it has.
func (l *launch) handleCreateError(ctx context.Context, s *report.Running, o *request, p placed, err error) (again bool, now placed, _ error) {
	switch {
	case errors.Is(err, ec2ops.ErrTokenMismatch) && p.origin != noVolume:
		// EC2 has accepted these parameters, so it is the volume that is no more.
		return false, p, o.gone(p.volume, err)
	case errors.Is(err, ec2ops.ErrTokenMismatch):
		now, err := l.adoptEarlier(ctx, s, o, err)
		return false, now, err
	case errors.Is(err, ec2ops.ErrLimit):
		// EC2 checks limits before tokens: the volume may exist all the same.
		if earlier, findErr := l.findExisting(ctx, 0); findErr == nil && earlier.volume != nil {
			return false, p.orAdopted(*earlier.volume), nil
		}
		if o.spec.InitializationRate == 0 || p.origin != noVolume { // other parameters would be a mismatch
			return false, p, err
		}
		// There is a limit to what is initialized at a rate at the same time in
		// a region. The same token again: if EC2 has noted it, the next
		// generation's follows, and never is there a second volume.
		l.Note("no initialization rate: " + failure.Line(err))
		o.spec.InitializationRate = 0
		return true, p, nil
	case errors.Is(err, ec2ops.ErrNotFound) && o.spec.SnapshotID != "":
		return false, p, fmt.Errorf("%w: %w", errSnapshotGone, err)
	}
	return false, p, err
}

// adoptListed goes on with a volume that is listed, when the one that EC2 has named for the client
// token is not shown by its id.
func (l *launch) adoptListed(ctx context.Context, s *report.Running, named placed, v ec2ops.Volume) (placed, error) {
	p, pace := named.orAdopted(v), ec2ops.PaceAny
	if p.origin == named.origin {
		pace = paceCreated()
	}
	now, err := l.waitAvailable(ctx, s, v, pace)
	if err == nil {
		p.volume = now
	}
	return p, err
}

// orAdopted is the volume v: the one that p is, or else one of an earlier run.
func (p placed) orAdopted(v ec2ops.Volume) placed {
	if v.ID == p.volume.ID {
		p.volume = v
		return p
	}
	return placed{volume: v, origin: adopted}
}

// paceRedeemed is how often EC2 is polled for a volume that it has named in the answer to
// CreateVolume.
func paceCreated() ec2ops.Pace {
	pace := ec2ops.PaceCreated
	pace.Unseen = ec2ops.Forgotten.Within
	return pace
}

// newWithin is how old, by EC2's own clock, a volume may be that this run has just made:
// the answer to a repeated token is that of the first call, and calls are repeated for as
// long as EC2 throttles them or does not answer.
const newVolumeAge = 2 * time.Minute

// originOf says whether the volume that CreateVolume has answered with is a new one, or
// one of an earlier run, which may have been in service: what is new may be deleted after
// a failure.
func originOf(v ec2ops.Volume) origin {
	if v.Age < newVolumeAge && v.Tags[ec2ops.TagFormatted] == "" && v.Tags[ec2ops.TagStarted] == "" {
		return created
	}
	return adopted
}

// ofEarlierRun answers a client token that was used with other parameters. An earlier run
// asked for something else, an older snapshot maybe. Its volume is the one to go on with,
// unless it is gone.
func (l *launch) adoptEarlier(ctx context.Context, s *report.Running, o *request, mismatch error) (placed, error) {
	gone := fmt.Errorf("%w: %w", errGone, mismatch)
	if len(l.gone) > 0 { // that was the volume which this run has deleted
		return placed{}, gone
	}
	s.Waiting("the volume that an earlier run asked for")
	earlier, err := l.findExisting(ctx, o.appearTimeout)
	if err != nil {
		return placed{}, err
	}
	if earlier.volume != nil {
		return placed{volume: *earlier.volume, origin: adopted}, nil
	}
	o.appearTimeout = 0 // a list that is waited for once need not be waited for again
	return placed{}, gone
}

// gone notes a volume that EC2 has accepted and that is not there any more. Nobody has
// deleted one that was made a moment ago: EC2 has taken it back.
func (o *request) gone(v ec2ops.Volume, cause error) error {
	if v.Age < ec2ops.ForgottenAge {
		o.taken = append(o.taken, v.ID)
		if v.Encrypted {
			o.key = cmp.Or(v.KMSKey, o.spec.KMSKey, "the account's key for EBS")
		}
	}
	return fmt.Errorf("%w: %w", errGone, cause)
}

// takenBack is the error for volumes that EC2 has accepted and taken back, as it does
// where its use of the KMS key is not allowed: no answer of EC2's names the key.
// (aws-ebs-csi-driver#3010, kubernetes#62171)
func (o *request) reclaimedError() error {
	what := fmt.Sprintf("CreateVolume: EC2 has accepted and then taken back %s", strings.Join(o.taken, ", "))
	if o.key == "" {
		return failure.New(failure.ErrTemporary, what)
	}
	return failure.New(ec2ops.ErrKMS, fmt.Sprintf("%s, as it does when the KMS key may not be used: %s", what, o.key))
}
