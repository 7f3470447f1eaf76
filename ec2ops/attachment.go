package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Attach asks EC2 to attach a volume as a device name. It returns as soon as EC2
// has taken the request; the attachment is then usually still attaching. While the
// instance is pending (early in boot EC2 may still say so) or the volume is not
// available, it asks again; waiting, when not nil, is told why. Besides the usual
// errors: [ErrDeviceNameTaken], [ErrVolumeInUse].
func (c *Client) Attach(ctx context.Context, volumeID, instanceID, device string, waiting func(reason string)) error {
	pause := c.newPollDelay("attach", firstPoll, lastPoll)
	for {
		err := c.retryNotFound(ctx, func() error {
			_, err := call(ctx, c, "AttachVolume", volumeID+" to "+instanceID+" as "+device, func(ctx context.Context) (*ec2.AttachVolumeOutput, error) {
				return c.ec2.AttachVolume(ctx, &ec2.AttachVolumeInput{
					VolumeId: aws.String(volumeID), InstanceId: aws.String(instanceID), Device: aws.String(device),
				})
			})
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

// Detach asks EC2 to detach a volume. The file system must be unmounted first: on
// NVMe the guest gets no chance to flush. An attachment that EC2 no longer knows
// is no error.
func (c *Client) Detach(ctx context.Context, volumeID, instanceID string) error {
	_, err := call(ctx, c, "DetachVolume", volumeID+" from "+instanceID, func(ctx context.Context) (*ec2.DetachVolumeOutput, error) {
		return c.ec2.DetachVolume(ctx, &ec2.DetachVolumeInput{
			VolumeId: aws.String(volumeID), InstanceId: aws.String(instanceID),
		})
	})
	var api *APIError
	if errors.As(err, &api) && errors.Is(err, ErrNotReady) && strings.Contains(api.Message, VolumeAvailable) {
		return nil // an earlier call, whose answer was lost, has done it
	}
	return ignoreNotFound(err)
}

// mappingTimeout is how long an attachment may take to appear in the instance's mapping
// of block devices, before which it can't be changed.
const mappingTimeout = 30 * time.Second

// DeleteOnTermination tells EC2 to delete the volume that is attached as device
// when its instance terminates; volumes attached after launch otherwise stay.
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
	_, err := call(ctx, c, "ModifyInstanceAttribute", instanceID+" "+device, func(ctx context.Context) (*ec2.ModifyInstanceAttributeOutput, error) {
		return c.ec2.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
			InstanceId: aws.String(instanceID),
			BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{{
				DeviceName: aws.String(device),
				Ebs: &types.EbsInstanceBlockDeviceSpecification{
					DeleteOnTermination: aws.Bool(true), VolumeId: aws.String(volumeID),
				},
			}},
		})
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
