package ec2test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"
)

// deviceName matches the device names that EC2 accepts: those on the user guide's "Device
// names" page and those that the EBS CSI driver found by trial and error
// (pkg/cloud/devicemanager/device_names.go). The prefix /dev/ is optional.
var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z]([1-9]|1[0-5])?|xvd[a-z]|xvd[abc][a-z]|xvdd[a-x])$`)

func (s *Server) attachVolume(c *call) (any, error) {
	volumeID, instanceID, device := c.required("VolumeId"), c.required("InstanceId"), c.required("Device")
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = volumeID
	var item attachmentItem
	err := s.store.Update(c.ctx, func(w *World) error {
		v, err := s.attachable(w, volumeID, instanceID, device, c.now)
		if err != nil {
			return err
		}
		took := c.random.attach()
		v.Attachment = &Attachment{
			InstanceID: instanceID, Device: device, Asked: c.now,
			Plugged: c.now.Add(took - s.random.plugged()), Attached: c.now.Add(took),
		}
		if c.hit.has(Stuck) {
			v.Attachment.Attached = c.now.Add(never)
		}
		if c.hit.has(Stuck) || c.hit.has(Unplugged) {
			v.Attachment.Plugged = c.now.Add(never)
		}
		item = v.attachment(c.now)
		item.Status = "attaching"
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.opts.Disks != nil {
		if err := s.opts.Disks.Attach(c.ctx, instanceID, volumeID); err != nil {
			return nil, err
		}
	}
	return item, nil
}

// attachable returns the volume if it can be attached.
func (s *Server) attachable(w *World, volumeID, instanceID, device string, now time.Time) (*Volume, error) {
	v, err := findVolume(w, volumeID, now)
	if err != nil {
		return nil, err
	}
	i, err := findInstance(w, instanceID, now)
	if err != nil {
		return nil, err
	}
	if !deviceName.MatchString(device) {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device)
	}
	if state := i.State(now); state != "running" {
		return nil, fail("IncorrectState", "Instance '%s' is not 'running'.", instanceID)
	}
	if v.Zone != i.Zone {
		return nil, fail("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", volumeID, instanceID)
	}
	if a := v.attached(now); a != nil {
		return nil, fail("VolumeInUse", "%s is already attached to an instance", volumeID)
	}
	if v.State(now) != "available" {
		return nil, fail("IncorrectState", "%s is not 'available'.", volumeID)
	}
	attached := attachedTo(w, instanceID, now)
	for _, other := range attached {
		if strings.TrimPrefix(other.Attachment.Device, "/dev/") == strings.TrimPrefix(device, "/dev/") {
			return nil, fail("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
	}
	if len(attached) >= s.opts.AttachmentLimit {
		return nil, fail("AttachmentLimitExceeded", "Instance '%s' has reached its limit of %d attached volumes.", instanceID, s.opts.AttachmentLimit)
	}
	return v, nil
}

// attachedTo returns the volumes of an instance, the root volume included.
func attachedTo(w *World, instanceID string, now time.Time) []*Volume {
	return attachments(w, []string{instanceID}, now)[instanceID]
}

// attachments returns the volumes of some instances, sorted by id.
func attachments(w *World, instanceIDs []string, now time.Time) map[string][]*Volume {
	volumes := make(map[string][]*Volume, len(instanceIDs))
	for _, id := range instanceIDs {
		volumes[id] = nil
	}
	for _, v := range w.Volumes {
		if v.Attachment == nil {
			continue
		}
		list, wanted := volumes[v.Attachment.InstanceID]
		if wanted && v.attached(now) != nil && v.State(now) != "" {
			volumes[v.Attachment.InstanceID] = append(list, v)
		}
	}
	for _, list := range volumes {
		slices.SortFunc(list, func(a, b *Volume) int { return strings.Compare(a.ID, b.ID) })
	}
	return volumes
}

func (s *Server) detachVolume(c *call) (any, error) {
	volumeID, instanceID, device := c.required("VolumeId"), c.text("InstanceId"), c.text("Device")
	c.truth("Force", false)
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = volumeID
	var item attachmentItem
	err := s.store.Update(c.ctx, func(w *World) error {
		v, err := findVolume(w, volumeID, c.now)
		if err != nil {
			return err
		}
		a := v.attached(c.now)
		if a == nil {
			return fail("IncorrectState", "Volume '%s' is in the 'available' state.", volumeID)
		}
		if instanceID != "" && instanceID != a.InstanceID || device != "" && device != a.Device {
			return fail("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'.", volumeID, instanceID, device)
		}
		if v.Root {
			return fail("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", volumeID, a.InstanceID)
		}
		if a.DetachAsked.IsZero() {
			a.DetachAsked = c.now
			a.Busy = true
			a.Stuck = c.hit.has(Stuck)
		}
		if s.opts.Disks == nil {
			s.release(a, c.now)
		}
		item = v.attachment(c.now)
		item.Status = "detaching"
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.opts.Disks != nil {
		if err := s.opts.Disks.Detach(c.ctx, item.InstanceID, volumeID); err != nil {
			return nil, err
		}
	}
	return item, nil
}

// Released reports that the kernel has released a volume's device. It does nothing unless a
// detachment was requested and is not complete.
func (s *Server) Released(ctx context.Context, volumeID string) error {
	return s.store.Update(ctx, func(w *World) error {
		if v := w.Volumes[volumeID]; v != nil && v.Attachment != nil && v.Attachment.Busy {
			s.release(v.Attachment, time.Now())
		}
		return nil
	})
}

func (s *Server) release(a *Attachment, now time.Time) {
	if !a.Busy {
		return
	}
	a.Busy = false
	a.Detached = now.Add(s.random.detach())
	if a.Stuck {
		a.Detached = now.Add(never)
	}
}
