package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	mayAppear = 15 * time.Second

	// createTries is how many volumes may end in the state error before we give up.
	createTries = 3
)

// makeVolume has EC2 make the volume. The client token is the same in every run, so
// no crash or retry makes a second one; the next generation's token is used only
// once the volume of the last is known to be gone.
func (b *boot) makeVolume(ctx context.Context, s *step, c choice) (ec2ops.Volume, error) {
	spec := b.spec(c)
	errorStates := 0
	var usedUp error     // by what the last token was
	appears := mayAppear // a list that is waited for once need not be waited for again
	for generation := 1; generation <= generations; generation++ {
		spec.Token = ec2ops.Token(b.self.InstanceID, b.self.Zone, b.src.Name, generation)
		made, err := b.createInTurn(ctx, s, spec)
		switch {
		case errors.Is(err, ec2ops.ErrTokenMismatch):
			if len(b.gone) > 0 { // that was the volume which this run has deleted
				usedUp = err
				continue
			}
			// An earlier run asked for something else, an older snapshot maybe. Its
			// volume is the one to go on with, unless it is gone.
			s.waiting("the volume that an earlier run asked for")
			if there, err := b.existing(ctx, appears); err != nil {
				return ec2ops.Volume{}, err
			} else if there.volume != nil {
				return *there.volume, nil
			}
			appears, usedUp = 0, err
			continue
		case errors.Is(err, ec2ops.ErrLimit):
			// EC2 checks limits before tokens: the volume may exist all the same.
			if there, findErr := b.existing(ctx, 0); findErr == nil && there.volume != nil {
				return *there.volume, nil
			}
			if spec.InitializationRate != 0 {
				// There is a limit to what is initialized at a rate at the same time in
				// a region. The same token again: if EC2 has noted it, the next
				// generation's follows, and never is there a second volume.
				b.note("no initialization rate: " + Line(err))
				spec.InitializationRate = 0
				generation--
				continue
			}
			return ec2ops.Volume{}, err
		case errors.Is(err, ec2ops.ErrNotFound) && c.snapshot != nil:
			return ec2ops.Volume{}, fmt.Errorf("%w: %w", errSnapshotGone, err)
		case err != nil:
			return ec2ops.Volume{}, err
		}
		b.created = made.ID
		v, err := b.usable(ctx, s, made)
		switch {
		case errors.Is(err, errGone):
			usedUp = err
			continue
		case errors.Is(err, errFailed):
			if errorStates++; errorStates == createTries {
				return v, err
			}
			b.note(made.ID + " went to the state error; deleting it and trying once more")
			if err := b.agent.Cloud.DeleteVolume(ctx, made.ID); err != nil {
				return v, err
			}
			continue
		}
		return v, err
	}
	return ec2ops.Volume{}, fmt.Errorf("%w: all %d client tokens are used up by volumes that are gone: %w", ErrTemporary, generations, usedUp)
}

func (b *boot) spec(c choice) ec2ops.VolumeSpec {
	spec := ec2ops.VolumeSpec{
		Zone: b.self.Zone, SizeGiB: c.sizeGiB,
		Type: b.src.VolumeType, IOPS: b.src.IOPS, Throughput: b.src.Throughput,
		Encrypted: b.src.Encrypted, KMSKey: b.src.KMSKey,
	}
	if c.snapshot != nil {
		spec.SnapshotID = c.snapshot.ID
		spec.InitializationRate = b.src.InitializationRate
	}
	spec.Tags = b.src.volumeTags(b.self.InstanceID, spec.SnapshotID)
	return spec
}

// without leaves out the volumes that are known to be gone.
func (b *boot) without(volumes []ec2ops.Volume) []ec2ops.Volume {
	return slices.DeleteFunc(volumes, func(v ec2ops.Volume) bool { return slices.Contains(b.gone, v.ID) })
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
	errGone   = errors.New("the volume is gone")
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
	if b.created == v.ID {
		pace = ec2ops.PaceCreated
	}
	v, err := b.agent.Cloud.WaitVolume(ctx, v.ID, pace, ready, func(v ec2ops.Volume) { s.waiting(v.ID + " is " + v.State) })
	if errors.Is(err, ec2ops.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return v, err
}
