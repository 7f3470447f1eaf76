package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// create creates the volume, or adopts the one of an earlier run.
func (l *launch) create(ctx context.Context, c choice) (p placed, err error) {
	for _, v := range c.discarded {
		if err := l.takeDown(ctx, v, true); err != nil {
			return p, err
		}
		l.gone = append(l.gone, v)
	}
	s := l.Begin(report.Create)
	defer s.End(&err)
	defer l.InEC2()()
	for _, failed := range c.failed {
		l.Note(failed.ID + " is in the state error and can't be used; deleting it")
		if err := l.cloud.Volumes.DeleteVolume(ctx, failed.ID); err != nil {
			return p, err
		}
	}
	for _, extra := range c.duplicates {
		l.Note(extra.ID + " is a duplicate: it has the tags of this instance and source, but is not used; delete it if nobody needs it")
	}
	if c.volume == nil {
		p, err = l.makeVolume(ctx, s, c)
	} else {
		p, err = l.adopt(ctx, s, *c.volume)
		if p.current = c.current; c.arrived {
			p.origin = arrived
		}
	}
	if err != nil {
		return p, err
	}
	if p.unannounced, err = l.markLaunch(p); err != nil {
		return p, err
	}
	l.Report.Volume, l.Report.Snapshot, l.Report.State = p.volume.ID, p.volume.SnapshotID, report.StateIncomplete
	s.Detail = p.String()
	return p, nil
}

// String describes for people what was created.
func (p placed) String() string {
	switch v := p.volume; {
	case p.origin == arrived:
		return v.ID + " came with the launch, " + v.Type
	case p.origin != created:
		return "nothing to create"
	case v.SnapshotID != "":
		return v.ID + " from it, " + v.Type
	default:
		return fmt.Sprintf("%s, blank, %d GiB, %s", v.ID, v.SizeGiB, v.Type)
	}
}

// adopt waits until the volume of an earlier run is available, and returns it.
func (l *launch) adopt(ctx context.Context, s *report.Running, v ec2ops.Volume) (placed, error) {
	now, err := l.waitAvailable(ctx, s, v, ec2ops.PollAny)
	if errors.Is(err, errGone) {
		err = &goneError{v.ID, err}
	}
	if now.ID == "" {
		now = v
	}
	return placed{volume: now, origin: adopted}, err
}

func (l *launch) spec(c choice) ec2ops.VolumeSpec {
	spec := ec2ops.VolumeSpec{
		Zone: l.Self.Zone, SizeGiB: c.sizeGiB,
		Type: l.src.VolumeType, IOPS: l.src.IOPS, Throughput: l.src.Throughput,
		Encrypted: l.src.Encrypted, KMSKey: l.src.KMSKey,
	}
	if c.snapshot != nil {
		// A volume from an encrypted snapshot is always encrypted, but a policy that requires
		// encryption reads an omitted parameter as false. (karpenter#8190, velero#1312)
		spec.Encrypted = spec.Encrypted || c.snapshot.Encrypted
		spec.SnapshotID = c.snapshot.ID
		spec.InitializationRate = l.src.InitializationRate
	}
	spec.Tags = l.src.VolumeTags(l.Self.InstanceID, spec.SnapshotID)
	return spec
}

var (
	errGone         = failure.New(failure.ErrTemporary, "the volume is gone")
	errVolumeFailed = fmt.Errorf("%w: the volume is in the state error", ec2ops.ErrTemporary)
)

// waitAvailable waits until a volume is available or in use. It returns errGone or
// errVolumeFailed if the volume never will be.
func (l *launch) waitAvailable(ctx context.Context, s *report.Running, v ec2ops.Volume, pace ec2ops.PollSchedule) (ec2ops.Volume, error) {
	ready := func(v ec2ops.Volume) (bool, error) {
		switch v.State {
		case ec2ops.VolumeAvailable:
			return true, nil
		case ec2ops.VolumeInUse: // one that is being detached becomes available
			return !slices.ContainsFunc(v.Attachments, func(a ec2ops.Attachment) bool { return a.State == ec2ops.Detaching }), nil
		case ec2ops.VolumeError:
			return false, fmt.Errorf("%s: %w", v.ID, errVolumeFailed)
		case ec2ops.VolumeDeleting, ec2ops.VolumeDeleted:
			return false, fmt.Errorf("%s: %w", v.ID, errGone)
		}
		return false, nil
	}
	if ok, err := ready(v); ok || err != nil {
		return v, err
	}
	v, err := l.cloud.Volumes.WaitVolume(ctx, v.ID, pace, ready, func(v ec2ops.Volume) { s.Waiting(v.ID + " is " + v.State) })
	if errors.Is(err, ec2ops.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return v, err
}
