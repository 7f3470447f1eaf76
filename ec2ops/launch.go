package ec2ops

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Launch is an instance and when it was launched, or started after a stop.
type Launch struct {
	ID string
	At time.Time
}

// LaunchesMax is how many launches one page shows. (DescribeInstances, API reference)
const LaunchesMax = 1000

// Launches lists, by one call, the pending and running instances of the account in the
// client's region that were launched from a machine image within some minutes, both of
// them included. If
// endings is not empty, only those are counted whose private address ends in one of
// these digits. whole says that there are no others than are listed. A missing permission
// is believed at once: the caller goes on without the list.
//
// launch-time takes a wildcard by DescribeInstances' own documentation, and
// private-ip-address as every filter does. (EC2 user guide, "List and filter your
// resources")
func (c *Client) Launches(ctx context.Context, image string, from, to time.Time, endings string) (list []Launch, whole bool, err error) {
	in := &ec2.DescribeInstancesInput{MaxResults: aws.Int32(LaunchesMax), Filters: []types.Filter{
		filter("launch-time", minutes(from, to)...),
		filter("instance-state-name", string(types.InstanceStateNamePending), InstanceRunning),
		filter("image-id", image),
	}}
	if endings != "" {
		var ends []string
		for _, digit := range endings {
			ends = append(ends, "*"+string(digit))
		}
		in.Filters = append(in.Filters, filter("private-ip-address", ends...))
	}
	out, err := call(believed(ctx), c, "DescribeInstances", "launched since "+from.UTC().Format("15:04 UTC"), func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
		return c.ec2.DescribeInstances(ctx, in)
	})
	if err != nil {
		return nil, false, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			list = append(list, Launch{ID: aws.ToString(i.InstanceId), At: aws.ToTime(i.LaunchTime)})
		}
	}
	return list, aws.ToString(out.NextToken) == "", nil
}

// minutes gives the filter values for all times from one minute to another: one for
// each, and at most as many as a filter takes, the latest.
func minutes(from, to time.Time) []string {
	var values []string
	for t := to.UTC().Truncate(time.Minute); !t.Before(from.UTC().Truncate(time.Minute)) && len(values) < filterValuesMax; t = t.Add(-time.Minute) {
		values = append(values, t.Format("2006-01-02T15:04")+":*")
	}
	slices.Reverse(values)
	return values
}
