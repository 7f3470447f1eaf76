package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Attach calls AttachVolume. It returns once EC2 has accepted the request; the attachment
// is then usually still attaching. While the instance is pending (EC2 may still say so
// early in boot) or the volume is not available, it retries, and calls waiting, when not
// nil, with the reason. Besides the usual errors it returns [ErrDeviceNameTaken] and
// [ErrVolumeInUse].
func (c *Client) Attach(ctx context.Context, volumeID, instanceID, device string, waiting func(reason string)) error {
	pause := c.newPollDelay("attach", firstPoll, lastPoll)
	for {
		err := c.retryNotFound(ctx, func() error {
			_, err := c.queryEC2(ctx, "AttachVolume", volumeID+" to "+instanceID+" as "+device,
				url.Values{"VolumeId": {volumeID}, "InstanceId": {instanceID}, "Device": {device}})
			return err
		})
		if !errors.Is(err, ErrNotReady) {
			return err
		}
		if waiting != nil {
			waiting(err.Error())
		}
		if sleepErr := pause.sleep(ctx); sleepErr != nil {
			return fmt.Errorf("%w: %w", err, sleepErr)
		}
	}
}

// Detach calls DetachVolume. Unmount the file system first: on NVMe the guest gets no
// chance to flush. An attachment that EC2 no longer knows is not an error.
func (c *Client) Detach(ctx context.Context, volumeID, instanceID string) error {
	_, err := c.queryEC2(ctx, "DetachVolume", volumeID+" from "+instanceID, url.Values{"VolumeId": {volumeID}, "InstanceId": {instanceID}})
	var api *APIError
	if errors.As(err, &api) && errors.Is(err, ErrNotReady) && strings.Contains(api.Message, VolumeAvailable) {
		return nil // an earlier call whose response was lost has detached it
	}
	return ignoreNotFound(err)
}

// mappingTimeout is how long an attachment may take to appear in the instance's block
// device mapping. It can't be modified before that.
const mappingTimeout = 30 * time.Second

// DeleteOnTermination makes EC2 delete the volume attached as device when its instance
// terminates. The default is to keep volumes that were attached after launch.
func (c *Client) DeleteOnTermination(ctx context.Context, instanceID, device, volumeID string) error {
	pause := c.newPollDelay("mapping", firstPoll, lastPoll)
	for until := time.Now().Add(mappingTimeout); ; {
		err := c.retryNotFound(ctx, func() error { return c.deleteOnTermination(ctx, instanceID, device, volumeID) })
		if !errors.Is(err, ErrNotReady) || !time.Now().Before(until) {
			return err
		}
		if sleepErr := pause.sleep(ctx); sleepErr != nil {
			return fmt.Errorf("%w: %w", err, sleepErr)
		}
	}
}

func (c *Client) deleteOnTermination(ctx context.Context, instanceID, device, volumeID string) error {
	_, err := c.queryEC2(ctx, "ModifyInstanceAttribute", instanceID+" "+device, url.Values{
		"InstanceId":                                   {instanceID},
		"BlockDeviceMapping.1.DeviceName":              {device},
		"BlockDeviceMapping.1.Ebs.VolumeId":            {volumeID},
		"BlockDeviceMapping.1.Ebs.DeleteOnTermination": {"true"},
	})
	return err
}

func attachmentsOf(list []types.VolumeAttachment) []Attachment {
	var all []Attachment
	for _, a := range list {
		all = append(all, Attachment{
			InstanceID:          aws.ToString(a.InstanceId),
			Device:              aws.ToString(a.Device),
			State:               string(a.State),
			DeleteOnTermination: aws.ToBool(a.DeleteOnTermination),
			Time:                aws.ToTime(a.AttachTime),
		})
	}
	return all
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
