package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	pause := c.backoffFrom("attach", firstPoll, lastPoll)
	for {
		err := c.known(ctx, func() error {
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

// mappedWithin is how long an attachment may take to appear in the instance's mapping
// of block devices, before which it can't be changed.
const mappedWithin = 30 * time.Second

// DeleteOnTermination tells EC2 to delete the volume that is attached as device
// when its instance terminates; volumes attached after launch otherwise stay.
func (c *Client) DeleteOnTermination(ctx context.Context, instanceID, device, volumeID string) error {
	pause := c.backoffFrom("mapping", firstPoll, lastPoll)
	for until := time.Now().Add(mappedWithin); ; {
		err := c.known(ctx, func() error { return c.deleteOnTermination(ctx, instanceID, device, volumeID) })
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

// Instance is what EC2 says of an instance.
type Instance struct {
	ID          string
	State       string   // pending, running, …
	DeviceNames []string // of its block device mapping: "/dev/xvda", "/dev/sdf"
	Tags        map[string]string
}

// Instance describes one instance, of which EC2 may have learnt only a moment ago.
func (c *Client) Instance(ctx context.Context, id string) (i Instance, err error) {
	err = c.known(ctx, func() error {
		i, err = c.instance(ctx, id)
		return err
	})
	return i, err
}

func (c *Client) instance(ctx context.Context, id string) (Instance, error) {
	out, err := call(ctx, c, "DescribeInstances", id, func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
		return c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	})
	if err != nil {
		return Instance{}, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if aws.ToString(i.InstanceId) != id {
				continue
			}
			inst := Instance{ID: id, Tags: tagMap(i.Tags)}
			if i.State != nil {
				inst.State = string(i.State.Name)
			}
			for _, m := range i.BlockDeviceMappings {
				inst.DeviceNames = append(inst.DeviceNames, aws.ToString(m.DeviceName))
			}
			return inst, nil
		}
	}
	return Instance{}, &APIError{
		Action: "ec2:DescribeInstances", Resource: id, Kind: ErrNotFound,
		Message: "EC2's answer does not hold it", Err: ErrNotFound,
	}
}

// Alive says which of these instances still exist: EC2 shows a terminated one for
// about an hour, and then no more. A stopped one exists.
func (c *Client) Alive(ctx context.Context, ids []string) (map[string]bool, error) {
	alive := map[string]bool{}
	for batch := range slices.Chunk(ids, filterValuesMax) {
		in := &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("instance-id", batch...)}}
		_, err := call(ctx, c, "DescribeInstances", few(batch), func(ctx context.Context) (struct{}, error) {
			for pages := ec2.NewDescribeInstancesPaginator(c.ec2, in); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return struct{}{}, err
				}
				for _, r := range page.Reservations {
					for _, i := range r.Instances {
						if i.State != nil && i.State.Name != types.InstanceStateNameTerminated {
							alive[aws.ToString(i.InstanceId)] = true
						}
					}
				}
			}
			return struct{}{}, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return alive, nil
}

// few names the first of some ids, for a message.
func few(ids []string) string {
	if len(ids) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:3], ", "), len(ids)-3)
	}
	return strings.Join(ids, ", ")
}

// filterValuesMax is how many values a filter may have. (EC2 user guide, "List and
// filter your resources")
const filterValuesMax = 200

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
