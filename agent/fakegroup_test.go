package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"snapsource/ec2ops"
)

// fakeGroup is an Auto Scaling group, as one of its instances meets it.
type fakeGroup struct {
	state      string    // of the instance; "" for one in no group
	target     string    // that the metadata service tells
	hook       string    // that the instance waits in, or will
	hooks      []string  // that the group has besides
	hooked     time.Time // until then it lists the others only
	waits      time.Time
	heartbeats int

	unknown   time.Time // until then the metadata service answers 404
	unlisted  time.Time // until then Auto Scaling does not list it
	wrong     time.Time // until then it is listed wrongly
	wrongly   string
	completed []string // results
}

func (c *fakeCloud) TargetLifecycleState(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.group.unknown) {
		return "", nil
	}
	return c.group.target, nil
}

func (c *fakeCloud) MembershipOf(ctx context.Context, _ string) (m ec2ops.Membership, err error) {
	err = c.call(ctx, "DescribeAutoScalingInstances", func() error {
		switch {
		case c.group.state == "" || time.Now().Before(c.group.unlisted):
			return nil
		case time.Now().Before(c.group.wrong):
			m = ec2ops.Membership{Group: "web", State: c.group.wrongly}
			return nil
		}
		m = ec2ops.Membership{Group: "web", State: c.group.state}
		if strings.HasSuffix(m.State, "Pending") && !time.Now().Before(c.group.waits) {
			c.group.state += ":Wait"
			m.State = c.group.state
		}
		return nil
	})
	return m, err
}

func (c *fakeCloud) LaunchHooks(ctx context.Context, _ string) (names []string, err error) {
	err = c.call(ctx, "DescribeLifecycleHooks", func() error {
		if names = c.group.hooks; c.group.hook != "" && !time.Now().Before(c.group.hooked) {
			names = append(slices.Clone(names), c.group.hook)
		}
		return nil
	})
	return names, err
}

func (c *fakeCloud) waitsIn(hook string) error {
	if !strings.HasSuffix(c.group.state, ":Wait") || hook != c.group.hook {
		return &ec2ops.APIError{Action: "autoscaling:CompleteLifecycleAction", Kind: ec2ops.ErrNoAction, Err: ec2ops.ErrNoAction}
	}
	return nil
}

func (c *fakeCloud) CompleteLifecycleAction(ctx context.Context, _, hook, _, result string) error {
	return c.call(ctx, "CompleteLifecycleAction "+result, func() error {
		if err := c.waitsIn(hook); err != nil {
			return err
		}
		c.group.state = strings.TrimSuffix(c.group.state, ":Wait") + ":Proceed"
		c.group.completed = append(c.group.completed, result)
		return nil
	})
}

func (c *fakeCloud) RecordHeartbeat(ctx context.Context, _, hook, _ string) error {
	return c.call(ctx, "RecordLifecycleActionHeartbeat", func() error {
		if err := c.waitsIn(hook); err != nil {
			return err
		}
		c.group.heartbeats++
		return nil
	})
}
