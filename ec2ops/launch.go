package ec2ops

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Launch is an instance and the time of its launch, or of its last start after a stop.
type Launch struct {
	ID string
	At time.Time
}

// LaunchesMax is the page size of [Client.Launches]. (DescribeInstances, API reference)
const LaunchesMax = 1000

// Launches lists, in one call, the pending and running instances in the client's account
// and region that were launched from a machine image between two minutes, inclusive. If
// endings is not empty, it lists only those whose private address ends in one of these
// digits. whole is false if there are more than one page shows. A missing permission is not
// retried: the caller can do without the list.
//
// launch-time takes a wildcard by DescribeInstances' own documentation, and
// private-ip-address does as every filter. (EC2 user guide, "List and filter your
// resources")
func (c *Client) Launches(ctx context.Context, image string, from, to time.Time, endings string) (list []Launch, whole bool, err error) {
	filters := []types.Filter{
		filter("launch-time", minutes(from, to)...),
		filter("instance-state-name", string(types.InstanceStateNamePending), InstanceRunning),
		filter("image-id", image),
	}
	if endings != "" {
		var ends []string
		for _, digit := range endings {
			ends = append(ends, "*"+string(digit))
		}
		filters = append(filters, filter("private-ip-address", ends...))
	}
	form := filterForm(filters)
	form.Set("MaxResults", strconv.Itoa(LaunchesMax))
	out, err := c.queryEC2(withoutRefusalRetries(ctx), "DescribeInstances", "launched since "+from.UTC().Format("15:04 UTC"), form)
	if err != nil {
		return nil, false, err
	}
	for _, i := range instancesOf(out.child("reservationSet").children) {
		list = append(list, Launch{ID: i.value("instanceId"), At: i.time("launchTime")})
	}
	return list, out.value("nextToken") == "", nil
}

// minutes returns one filter value per minute from from to to: the latest ones, at most as
// many as a filter accepts.
func minutes(from, to time.Time) []string {
	var values []string
	for t := to.UTC().Truncate(time.Minute); !t.Before(from.UTC().Truncate(time.Minute)) && len(values) < filterValuesMax; t = t.Add(-time.Minute) {
		values = append(values, t.Format("2006-01-02T15:04")+":*")
	}
	slices.Reverse(values)
	return values
}
