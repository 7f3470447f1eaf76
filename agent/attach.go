package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

const (
	// attachTimeout bounds one attachment; most take 1 to 4 s. The EBS CSI driver also
	// considers an attachment stuck after 90 s, detaches the volume, and starts over.
	attachTimeout = 90 * time.Second

	// pollAfter is how long to wait for the kernel's device event before polling EC2: most
	// attachments take 1 to 4 s.
	pollAfter = 4 * time.Second

	// inUseTimeout is how long EC2 may report a volume as in use without listing its
	// attachment. EC2 is eventually consistent, usually within a few seconds.
	inUseTimeout = 30 * time.Second
	// inUsePoll is the poll interval meanwhile.
	inUsePoll = 2 * time.Second

	// attachAttempts is the number of stuck attachments after which attach fails.
	attachAttempts = 3
)

// errStuck is the cause when [attachTimeout] expires.
var errStuck = failure.New(failure.ErrTemporary, fmt.Sprintf("not attached within %s", attachTimeout))

// attach attaches the volume and returns once the kernel shows its device. EC2's
// confirmation may come later: see [launch.attachOnce]. If an attachment is stuck, attach
// detaches the volume and retries with another device name, which may be the cause.
func (l *launch) attach(ctx context.Context, p placed) (at attached, err error) {
	s := l.Begin(report.Attach)
	defer s.End(&err)
	defer l.InEC2()()
	var avoid []string
	for try := 1; ; try++ {
		at, err = l.attachOnce(ctx, s, p, avoid)
		if !errors.Is(err, errStuck) || errors.Is(err, mountfs.ErrWrongDevice) {
			break
		}
		if mounted, mountErr := l.isMounted(p.volume); mountErr != nil || mounted {
			return at, failure.FollowedBy(err, mountErr) // by an earlier run, so it is attached
		}
		l.Note(fmt.Sprintf("detaching %s: AttachVolume to %s as %s: %s", p.volume.ID, l.Self.InstanceID, at.attachment.Device, failure.Line(err)))
		if releaseErr := l.takeDown(ctx, p.volume, false); releaseErr != nil {
			return at, failure.FollowedBy(err, releaseErr)
		}
		if try == attachAttempts {
			return at, fmt.Errorf("AttachVolume %s to %s, %d times: %w", p.volume.ID, l.Self.InstanceID, try, err)
		}
		p.volume.State, p.volume.Attachments = ec2ops.VolumeAvailable, nil
		avoid = append(avoid, at.attachment.Device)
	}
	if err != nil {
		return at, err
	}
	at.settled = l.setDeleteOnTermination(ctx, at)
	l.Report.Device, l.Report.Node = at.attachment.Device, at.device.Node
	s.Detail = fmt.Sprintf("%s, here %s", at.attachment.Device, at.device.Node)
	return at, nil
}

// isMounted reports whether anything is mounted from the volume here.
func (l *launch) isMounted(v ec2ops.Volume) (bool, error) {
	dev, err := l.deviceOf(v)
	if err != nil || dev == nil {
		return false, err
	}
	mounts, err := l.mountsOf(*dev)
	return len(mounts) > 0, err
}

// attachOnce continues an existing attachment or requests one, and waits for the device.
// EC2 reports attached some time after the kernel shows the device. If the device is
// identified by the volume's id and the volume is from a snapshot, the launch mounts it
// without waiting for EC2; announce waits instead. A volume that may be formatted is
// inspected only when EC2 and the kernel agree.
func (l *launch) attachOnce(ctx context.Context, s *report.Running, p placed, avoid []string) (at attached, err error) {
	at.placed = p
	v := p.volume
	if a, ok := v.AttachmentTo(l.Self.InstanceID); ok && a.State != ec2ops.Detaching {
		at.attachment = a
	} else if at.attachment, err = l.requestAttachment(ctx, s, v, avoid); err != nil {
		return at, err
	}
	watch, err := l.host.Watch(mountfs.Volume{ID: v.ID, Name: at.attachment.Device, Size: v.Bytes()})
	if err != nil {
		return at, err
	}
	defer func() { err = failure.FollowedBy(err, watch.Close()) }()
	attachCtx, fail := context.WithCancelCause(ctx) // if one wait fails, cancel the other
	deviceFound := make(chan struct{})
	at.confirmed = inBackground(&l.background, func() (ec2ops.Volume, error) {
		limited, cancel := context.WithTimeoutCause(attachCtx, attachTimeout, errStuck)
		defer cancel()
		v, err := l.waitAttached(limited, s, v, deviceFound)
		if err != nil {
			fail(err)
		}
		return v, err
	})
	limited, cancel := context.WithTimeoutCause(attachCtx, attachTimeout, errStuck)
	defer cancel()
	endWait := l.Await(report.OnKernel, "the device")
	at.device, err = watch.Wait(limited)
	endWait()
	if err != nil {
		fail(err)
		_, _ = at.confirmed.wait() // it failed with this error, or caused it
		if ctx.Err() == nil {
			err = context.Cause(attachCtx)
		}
		return at, err
	}
	close(deviceFound)
	if v.SnapshotID != "" && at.device.ByID() {
		return at, nil
	}
	now, err := at.confirmed.wait()
	if err != nil {
		return at, err // with the volume that it is about
	}
	at.volume = now
	at.attachment, _ = at.volume.AttachmentTo(l.Self.InstanceID)
	return at, nil
}

// requestAttachment calls AttachVolume with the configured device name. While EC2 reports
// the name as taken, it retries with the next one that the instance's block device mapping
// leaves free.
func (l *launch) requestAttachment(ctx context.Context, s *report.Running, v ec2ops.Volume, avoid []string) (ec2ops.Attachment, error) {
	names := ec2ops.FreeDeviceNames(l.src.Device, avoid)
	mappingRead := false
	var inUse time.Time // when EC2 first reported the volume as in use
	for len(names) > 0 {
		name := names[0]
		err := l.cloud.Attachments.Attach(ctx, v.ID, l.Self.InstanceID, name, s.Waiting)
		switch {
		case err == nil:
			return ec2ops.Attachment{InstanceID: l.Self.InstanceID, Device: name, State: ec2ops.Attaching}, nil
		case errors.Is(err, ec2ops.ErrVolumeInUse):
			a, found, findErr := l.alreadyAttached(ctx, v.ID, err)
			if found || findErr != nil {
				return a, findErr
			}
			if inUse.IsZero() {
				inUse = time.Now()
			}
			if time.Since(inUse) > inUseTimeout {
				return a, err
			}
			if err := l.Pause(ctx, inUsePoll, v.ID); err != nil {
				return a, err
			}
			continue
		case !errors.Is(err, ec2ops.ErrDeviceNameTaken):
			return ec2ops.Attachment{}, err
		case !mappingRead:
			// Some devices of the machine image are in no mapping, so any name may still
			// be taken.
			mappingRead = true
			instance, err := l.cloud.Attachments.Instance(ctx, l.Self.InstanceID)
			if err != nil {
				return ec2ops.Attachment{}, err
			}
			names = ec2ops.FreeDeviceNames(name, slices.Concat(instance.DeviceNames, avoid, []string{name}))
		default:
			names = names[1:]
		}
		s.Waiting(name + " is taken, trying the next device name")
	}
	return ec2ops.Attachment{}, fmt.Errorf("attach %s: %w: no device name of %s is free", v.ID, ec2ops.ErrLimit, l.Self.InstanceID)
}

// alreadyAttached finds this instance's attachment of a volume that EC2 reports as in use: a
// call that seemed to fail, or one from a killed run, may have succeeded. It finds none
// while EC2's answer is stale or the volume is being detached.
func (l *launch) alreadyAttached(ctx context.Context, id string, cause error) (a ec2ops.Attachment, found bool, err error) {
	v, err := l.cloud.Volumes.Volume(ctx, id)
	if err != nil {
		return a, false, err
	}
	if a, found = v.AttachmentTo(l.Self.InstanceID); found {
		return a, true, nil
	}
	if len(v.Attachments) > 0 {
		return a, false, fmt.Errorf("%s (%s): %w", id, v, cause)
	}
	return a, false, nil
}

// waitAttached waits until EC2 reports attached. It polls once the kernel shows the device,
// or after [pollAfter], as the kernel may never show it.
func (l *launch) waitAttached(ctx context.Context, s *report.Running, v ec2ops.Volume, deviceFound <-chan struct{}) (ec2ops.Volume, error) {
	if a, ok := v.AttachmentTo(l.Self.InstanceID); ok && a.State == ec2ops.Attached {
		return v, nil
	}
	id, pace := v.ID, ec2ops.PollAttached
	select {
	case <-ctx.Done():
	case <-deviceFound:
	case <-time.After(pollAfter):
		pace = ec2ops.PollAny
	}
	return l.cloud.Volumes.WaitVolume(ctx, id, pace, func(v ec2ops.Volume) (bool, error) {
		if v.Gone() || v.State == ec2ops.VolumeError {
			return false, fmt.Errorf("%s is %s while it is attached: %w", id, v.State, ec2ops.ErrTemporary)
		}
		a, ok := v.AttachmentTo(l.Self.InstanceID)
		return ok && a.State == ec2ops.Attached, nil
	}, func(v ec2ops.Volume) { s.Waiting(id + " is " + v.String()) })
}

// setDeleteOnTermination sets DeleteOnTermination in the background, once EC2 reports
// attached. waitSettled waits for it.
func (l *launch) setDeleteOnTermination(ctx context.Context, at attached) *future[struct{}] {
	return inBackground(&l.background, func() (struct{}, error) {
		v, err := at.confirmed.wait()
		if err != nil {
			return struct{}{}, err
		}
		if a, ok := v.AttachmentTo(l.Self.InstanceID); ok && a.DeleteOnTermination {
			return struct{}{}, nil
		}
		return struct{}{}, l.cloud.Attachments.DeleteOnTermination(ctx, l.Self.InstanceID, at.attachment.Device, v.ID)
	})
}

// waitSettled waits until EC2 reports attached and DeleteOnTermination is set.
func (l *launch) waitSettled(at attached) error {
	defer l.InEC2()()
	defer l.Await(report.OnCalls, "the attachment")()
	_, err := at.settled.wait()
	return err
}
