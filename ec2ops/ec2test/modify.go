package ec2test

import (
	"context"
	"time"
)

// modifyPause is how long after a modification EC2 refuses the next one. (EBS user guide,
// "Requirements for Amazon EBS volume modifications")
const modifyPause = 6 * time.Hour

type modificationItem struct {
	VolumeID           string `xml:"volumeId"`
	State              string `xml:"modificationState"`
	TargetSize         int64  `xml:"targetSize"`
	TargetIOPS         int64  `xml:"targetIops,omitempty"`
	TargetType         string `xml:"targetVolumeType"`
	TargetThroughput   int64  `xml:"targetThroughput,omitempty"`
	OriginalSize       int64  `xml:"originalSize"`
	OriginalIOPS       int64  `xml:"originalIops,omitempty"`
	OriginalType       string `xml:"originalVolumeType"`
	OriginalThroughput int64  `xml:"originalThroughput,omitempty"`
	Progress           int64  `xml:"progress"`
	StartTime          string `xml:"startTime"`
}

type modifyAnswer struct {
	Modification modificationItem `xml:"volumeModification"`
}

// modifyVolume changes size and performance of a volume at once: EC2's state "modifying" takes
// seconds, and the new size is usable from "optimizing" on.
func (s *Server) modifyVolume(c *call) (any, error) {
	id := c.required("VolumeId")
	wanted := Volume{Type: c.text("VolumeType"), Size: c.number("Size"), IOPS: c.number("Iops"), Throughput: c.number("Throughput")}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	var before, after Volume
	err := s.store.Update(c.ctx, func(w *World) error {
		v, err := findVolume(w, id, c.now)
		if err != nil {
			return err
		}
		before = v.clone()
		if after, err = s.modified(before, wanted, c.now); err != nil {
			return err
		}
		kept := after
		*v = kept
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.opts.Disks != nil && after.Size > before.Size {
		if err := s.opts.Disks.GrowVolume(context.WithoutCancel(c.ctx), id, after.Size); err != nil {
			return nil, err
		}
	}
	return modifyAnswer{modificationItem{
		VolumeID: id, State: "optimizing", StartTime: stamp(c.now),
		TargetSize: after.Size, TargetIOPS: after.IOPS, TargetType: after.Type, TargetThroughput: after.Throughput,
		OriginalSize: before.Size, OriginalIOPS: before.IOPS, OriginalType: before.Type, OriginalThroughput: before.Throughput,
	}}, nil
}

// modified returns a volume as the call asks for it. What is omitted stays; of another type,
// IOPS and throughput are that type's defaults.
func (s *Server) modified(v, wanted Volume, now time.Time) (Volume, error) {
	switch state := v.State(now); {
	case state != "available" && state != "in-use":
		return v, fail("IncorrectState", "The volume '%s' is '%s'", v.ID, state)
	case !v.Modified.IsZero() && now.Sub(v.Modified) < modifyPause:
		return v, fail("VolumeModificationRateExceeded", "You've reached the maximum modification rate per volume limit. Wait at least 6 hours between modifications per EBS volume.")
	case wanted.Size != 0 && wanted.Size < v.Size:
		return v, fail("InvalidParameterValue", "New size cannot be smaller than existing size")
	}
	if wanted.Type != "" && wanted.Type != v.Type {
		v.Type, v.IOPS, v.Throughput = wanted.Type, 0, 0
	}
	if wanted.Size != 0 {
		v.Size = wanted.Size
	}
	if wanted.IOPS != 0 {
		v.IOPS = wanted.IOPS
	}
	if wanted.Throughput != 0 {
		v.Throughput = wanted.Throughput
	}
	checked := v
	checked.KMSKeyID, checked.InitializationRate = "", 0 // checked when it was created
	if err := s.checkVolume(&checked); err != nil {
		return v, err
	}
	v.IOPS, v.Throughput, v.Modified = checked.IOPS, checked.Throughput, now
	return v, nil
}
