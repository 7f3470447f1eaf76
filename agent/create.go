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
	"snapsource/ec2ops"
)

const (
	// generations bounds how many volumes of earlier generations (all gone by now)
	// a run steps past to find a client token that is still unused. EC2 forgets a
	// token after about 12 h (measured by the EBS CSI driver), and each step costs
	// one call, so only a defect reaches this.
	generations = 100

	// mayAppear is how long a volume that EC2 made under our token may be missing
	// from lists: EC2 is eventually consistent, as a rule within a few seconds.
	mayAppear = 30 * time.Second

	// createTries is how many volumes may end in the state error, or be taken back by EC2,
	// before we give up.
	createTries = 3

	// listedWithin is how long the list by tags is asked for a volume that could not be
	// found by its id.
	listedWithin = 5 * time.Second
)

// ordered is what a run asks EC2 for until it has a volume.
type ordered struct {
	spec    ec2ops.VolumeSpec
	appears time.Duration // how long a list is waited for that may lack an earlier run's volume
	failed  int           // volumes that went to the state error
	taken   []string      // volumes that EC2 made for this run and took back
	key     string        // the KMS key of those; "" if they were not encrypted
}

// makeVolume has EC2 make the volume. The client token is the same in every run, so
// no crash or retry makes a second one; the next generation's token is used only
// once the volume of the last is known to be gone.
func (b *boot) makeVolume(ctx context.Context, s *step, c choice) (ec2ops.Volume, error) {
	o := &ordered{spec: b.spec(c), appears: mayAppear}
	var usedUp error // by what the last token was
	for generation := 1; generation <= generations; generation++ {
		o.spec.Token = ec2ops.Token(b.self.InstanceID, b.self.Zone, b.src.Name, generation)
		v, err := b.redeem(ctx, s, o)
		switch {
		case errors.Is(err, errGone):
			b.created, usedUp = "", err
			if len(o.taken) == createTries {
				return v, o.takenBack()
			}
		case errors.Is(err, errFailed):
			if o.failed++; o.failed == createTries {
				return v, err
			}
			b.note(v.ID + " went to the state error; deleting it and trying once more")
			if err := b.agent.Cloud.DeleteVolume(ctx, v.ID); err != nil {
				return v, err
			}
			usedUp = err
		default:
			return v, err
		}
	}
	return ec2ops.Volume{}, fmt.Errorf("%w: all %d client tokens are used up by volumes that are gone: %w", failure.ErrTemporary, generations, usedUp)
}

// redeem gives the volume that one client token stands for, once it can be used; errGone
// or errFailed when it never will be.
func (b *boot) redeem(ctx context.Context, s *step, o *ordered) (made ec2ops.Volume, err error) {
	for begun := time.Now(); ; {
		answer, err := admission.Do(ctx, b.limiter, throttled{s}, "CreateVolume", func(ctx context.Context) (ec2ops.Volume, error) {
			return b.agent.Cloud.CreateVolume(ctx, o.spec)
		})
		switch {
		case errors.Is(err, ec2ops.ErrTokenMismatch) && made.ID != "":
			// EC2 has accepted these parameters, so it is the volume that is no more.
			return made, o.gone(made, err)
		case errors.Is(err, ec2ops.ErrTokenMismatch):
			return b.ofEarlierRun(ctx, s, o, err)
		case errors.Is(err, ec2ops.ErrLimit):
			// EC2 checks limits before tokens: the volume may exist all the same.
			if there, findErr := b.existing(ctx, 0); findErr == nil && there.volume != nil {
				return *there.volume, nil
			}
			if o.spec.InitializationRate == 0 || made.ID != "" { // other parameters would be a mismatch
				return made, err
			}
			// There is a limit to what is initialized at a rate at the same time in
			// a region. The same token again: if EC2 has noted it, the next
			// generation's follows, and never is there a second volume.
			b.note("no initialization rate: " + Line(err))
			o.spec.InitializationRate = 0
			continue
		case errors.Is(err, ec2ops.ErrNotFound) && o.spec.SnapshotID != "":
			return made, fmt.Errorf("%w: %w", errSnapshotGone, err)
		case err != nil:
			return made, err
		}
		if made, b.redeemed = answer, answer.ID; isNew(answer) {
			b.created, b.adopted = answer.ID, ec2ops.Volume{}
		} else {
			b.created, b.adopted = "", answer // an earlier run has made it
		}
		answered := time.Now()
		if answer.State == ec2ops.VolumeAvailable || answer.State == ec2ops.VolumeInUse {
			// By the token EC2 may know more of a volume than Describe shows. What is attached
			// before it is shown can't be found by the next run, though it is mounted.
			answer.State = ec2ops.VolumeCreating
		}
		v, err := b.usable(ctx, s, answer)
		switch {
		case errors.Is(err, errGone) && errors.Is(err, ec2ops.ErrNotFound):
			return made, o.gone(made, err)
		case !errors.Is(err, ec2ops.ErrNotShown):
			return v, err
		}
		// Neither a new volume that EC2 shows late nor one that is gone can be found.
		if there, findErr := b.existing(ctx, listedWithin); findErr != nil {
			return made, findErr
		} else if there.volume != nil {
			return b.usable(ctx, s, *there.volume)
		}
		switch {
		case made.Age+time.Since(answered) >= ec2ops.ForgottenAge:
			return made, fmt.Errorf("%w: EC2 made %s %s ago by its own account, and shows it nowhere: %w", errGone, made.ID, made.Age.Round(time.Second), err)
		case time.Since(begun) >= ec2ops.NeverShown.Within:
			return made, err
		}
		s.waiting(made.ID + " is not shown; asking EC2 again what the client token stands for")
	}
}

// newWithin is how old, by EC2's own clock, a volume may be that this run has just made:
// the answer to a repeated token is that of the first call, and calls are repeated for as
// long as EC2 throttles them or does not answer.
const newWithin = 2 * time.Minute

// isNew says whether the volume that CreateVolume has answered with is a new one, and not
// one of an earlier run, which may have been in service: what is new may be deleted after
// a failure.
func isNew(v ec2ops.Volume) bool {
	return v.Age < newWithin && v.Tags[ec2ops.TagFormatted] == "" && v.Tags[ec2ops.TagStarted] == ""
}

// ofEarlierRun answers a client token that was used with other parameters. An earlier run
// asked for something else, an older snapshot maybe. Its volume is the one to go on with,
// unless it is gone.
func (b *boot) ofEarlierRun(ctx context.Context, s *step, o *ordered, mismatch error) (ec2ops.Volume, error) {
	gone := fmt.Errorf("%w: %w", errGone, mismatch)
	if len(b.gone) > 0 { // that was the volume which this run has deleted
		return ec2ops.Volume{}, gone
	}
	s.waiting("the volume that an earlier run asked for")
	there, err := b.existing(ctx, o.appears)
	if err != nil {
		return ec2ops.Volume{}, err
	}
	if there.volume != nil {
		return *there.volume, nil
	}
	o.appears = 0 // a list that is waited for once need not be waited for again
	return ec2ops.Volume{}, gone
}

// gone notes a volume that EC2 has accepted and that is not there any more. Nobody has
// deleted one that was made a moment ago: EC2 has taken it back.
func (o *ordered) gone(v ec2ops.Volume, cause error) error {
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
func (o *ordered) takenBack() error {
	what := fmt.Sprintf("CreateVolume: EC2 has accepted and then taken back %s", strings.Join(o.taken, ", "))
	if o.key == "" {
		return failure.New(failure.ErrTemporary, what)
	}
	return failure.New(ec2ops.ErrKMS, fmt.Sprintf("%s, as it does when the KMS key may not be used: %s", what, o.key))
}

func (b *boot) spec(c choice) ec2ops.VolumeSpec {
	spec := ec2ops.VolumeSpec{
		Zone: b.self.Zone, SizeGiB: c.sizeGiB,
		Type: b.src.VolumeType, IOPS: b.src.IOPS, Throughput: b.src.Throughput,
		Encrypted: b.src.Encrypted, KMSKey: b.src.KMSKey,
	}
	if c.snapshot != nil {
		// Its volumes are encrypted in any case, but a policy that demands encryption takes
		// an omitted parameter for false. (karpenter#8190, velero#1312)
		spec.Encrypted = spec.Encrypted || c.snapshot.Encrypted
		spec.SnapshotID = c.snapshot.ID
		spec.InitializationRate = b.src.InitializationRate
	}
	spec.Tags = b.src.VolumeTags(b.self.InstanceID, spec.SnapshotID)
	return spec
}

// without leaves out the volumes that are known to be gone.
func (b *boot) without(volumes []ec2ops.Volume) []ec2ops.Volume {
	return slices.DeleteFunc(volumes, func(v ec2ops.Volume) bool { return b.isGone(v.ID) })
}

func (b *boot) isGone(id string) bool {
	return slices.ContainsFunc(b.gone, func(v ec2ops.Volume) bool { return v.ID == id })
}

// existing looks for a volume of ours that an earlier run made, which may take a while
// to be listed.
func (b *boot) existing(ctx context.Context, within time.Duration) (choice, error) {
	found, err := b.agent.Cloud.VolumesWithin(ctx, b.self.InstanceID, b.src.Name, within)
	if err != nil {
		return choice{}, err
	}
	return chooseVolume(b.src.Name, b.self.InstanceID, b.without(found))
}

var (
	errGone   = failure.New(failure.ErrTemporary, "the volume is gone")
	errFailed = fmt.Errorf("%w: the volume is in the state error", ec2ops.ErrTemporary)
)

// usable waits until a volume can be attached, or is attached here. errGone and
// errFailed tell that it never will be.
func (b *boot) usable(ctx context.Context, s *step, v ec2ops.Volume) (ec2ops.Volume, error) {
	ready := func(v ec2ops.Volume) (bool, error) {
		switch v.State {
		case ec2ops.VolumeAvailable:
			return true, nil
		case ec2ops.VolumeInUse: // being detached, it will be available again
			return !slices.ContainsFunc(v.Attachments, func(a ec2ops.Attachment) bool { return a.State == ec2ops.Detaching }), nil
		case ec2ops.VolumeError:
			return false, fmt.Errorf("%s: %w", v.ID, errFailed)
		case ec2ops.VolumeDeleting, ec2ops.VolumeDeleted:
			return false, fmt.Errorf("%s: %w", v.ID, errGone)
		}
		return false, nil
	}
	if ok, err := ready(v); ok || err != nil {
		return v, err
	}
	pace := ec2ops.PaceAny
	if b.redeemed == v.ID {
		pace = ec2ops.PaceCreated
		pace.Unseen = ec2ops.Forgotten.Within
	}
	v, err := b.agent.Cloud.WaitVolume(ctx, v.ID, pace, ready, func(v ec2ops.Volume) { s.waiting(v.ID + " is " + v.State) })
	if errors.Is(err, ec2ops.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return v, err
}
