package ec2ops

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

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
	found, err := c.describeInstances(ctx, id, url.Values{"InstanceId.1": {id}})
	if err != nil {
		return Instance{}, err
	}
	for _, i := range found {
		if i.value("instanceId") != id {
			continue
		}
		inst := Instance{ID: id, State: i.value("instanceState", "name"), Tags: i.tags()}
		for _, m := range i.child("blockDeviceMapping").children {
			inst.DeviceNames = append(inst.DeviceNames, m.value("deviceName"))
		}
		return inst, nil
	}
	return Instance{}, &APIError{
		Action: "ec2:DescribeInstances", Resource: id, Kind: ErrNotFound,
		Message: "EC2's response does not contain it", Err: ErrNotFound,
	}
}

// describeInstances returns all pages of instances.
func (c *Client) describeInstances(ctx context.Context, resource string, form url.Values) ([]*element, error) {
	reservations, err := c.queryPages(ctx, "DescribeInstances", resource, form, "reservationSet")
	return instancesOf(reservations), err
}

func instancesOf(reservations []*element) (all []*element) {
	for _, r := range reservations {
		all = append(all, r.child("instancesSet").children...)
	}
	return all
}

// Alive reports which of these instances exist, including stopped ones. EC2 shows a
// terminated instance for about an hour.
func (c *Client) Alive(ctx context.Context, ids []string) (map[string]bool, error) {
	alive := map[string]bool{}
	for batch := range slices.Chunk(ids, filterValuesMax) {
		found, err := c.describeInstances(ctx, firstIDs(batch), filterForm([]types.Filter{filter("instance-id", batch...)}))
		if err != nil {
			return nil, err
		}
		for _, i := range found {
			if state := i.value("instanceState", "name"); state != "" && state != string(types.InstanceStateNameTerminated) {
				alive[i.value("instanceId")] = true
			}
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
