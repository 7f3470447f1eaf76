package ec2ops

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Instance is what EC2 says of an instance.
type Instance struct {
	ID          string
	State       string   // pending, running, …
	DeviceNames []string // of its block device mapping: "/dev/xvda", "/dev/sdf"
	Tags        map[string]string
}

// Instance describes one instance. It retries not found: EC2 may be late to show it.
func (c *Client) Instance(ctx context.Context, id string) (i Instance, err error) {
	err = c.retryNotFound(ctx, func() error {
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
		Message: "EC2's response does not contain it", Err: ErrNotFound,
	}
}

// Alive reports which of these instances exist, including stopped ones. EC2 shows a
// terminated instance for about an hour.
func (c *Client) Alive(ctx context.Context, ids []string) (map[string]bool, error) {
	alive := map[string]bool{}
	for batch := range slices.Chunk(ids, filterValuesMax) {
		in := &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("instance-id", batch...)}}
		_, err := call(ctx, c, "DescribeInstances", firstIDs(batch), func(ctx context.Context) (struct{}, error) {
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

// firstIDs lists the first three ids, for a message.
func firstIDs(ids []string) string {
	if len(ids) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:3], ", "), len(ids)-3)
	}
	return strings.Join(ids, ", ")
}

// filterValuesMax is how many values a filter may have. (EC2 user guide, "List and
// filter your resources")
const filterValuesMax = 200
