package agent

import (
	"context"
	"time"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

func (c *fakeCloud) LaunchDevices(context.Context) (ec2ops.LaunchDevices, bool) {
	return c.launched, !c.noMapping
}

func (c *fakeCloud) Attached(ctx context.Context, instanceID string) (all []ec2ops.Volume, err error) {
	err = c.call(ctx, "DescribeVolumes attached", func() error {
		for _, v := range c.volumes {
			if _, ok := v.AttachmentTo(instanceID); ok && !time.Now().Before(v.invisible) {
				all = append(all, c.now(v))
			}
		}
		return nil
	})
	return all, err
}

func (h *fakeHost) VolumeDevices() (all []mountfs.VolumeDevice, err error) {
	h.cloud.mu.Lock()
	volumes := h.cloud.live()
	h.cloud.mu.Unlock()
	if h.xen {
		return nil, nil
	}
	for _, v := range volumes {
		d, err := h.Find(mountfs.Volume{ID: v.ID})
		if err != nil {
			continue
		}
		shown := mountfs.VolumeDevice{Volume: v.ID, Device: d}
		if h.vendorBytes {
			h.cloud.mu.Lock()
			shown.Name, shown.AtLaunch = v.Attachments[0].Device, v.Attachments[0].Time.Equal(launchedAt)
			h.cloud.mu.Unlock()
		}
		all = append(all, shown)
	}
	return all, nil
}
