package agent

import (
	"context"
	"time"

	"snapsource/ec2ops"
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
