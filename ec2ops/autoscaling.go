package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Results of a lifecycle action.
const (
	Continue = "CONTINUE" // the instance enters service
	Abandon  = "ABANDON"  // the instance is terminated and replaced
)

// Membership is an instance's group and lifecycle state in Auto Scaling.
type Membership struct {
	Group string // "" for an instance in no group
	State string // InService, Pending:Wait, Warmed:Pending:Wait, …
}

// Waits says whether the instance waits in a launch hook on its way into service or into
// the warm pool. (Amazon EC2 Auto Scaling user guide, "Lifecycle hooks")
func (m Membership) Waits() bool {
	return m.State == "Pending:Wait" || m.ToBeWarmed() && strings.HasSuffix(m.State, "Pending:Wait")
}

// ToBeWarmed says whether the instance is in a warm pool or on its way into one.
func (m Membership) ToBeWarmed() bool { return strings.HasPrefix(m.State, "Warmed:") }

// String describes what Auto Scaling lists, for a message.
func (m Membership) String() string {
	if m.Group == "" {
		return "does not list it"
	}
	return "lists it as " + m.State + " in " + m.Group
}

// TargetLifecycleState returns the instance's target lifecycle state from the metadata
// service: InService, Warmed:Stopped, …. It returns "" for 404, the response for an
// instance in no group, and sometimes for a member: see [NoGroup]. Other failures are
// retried; one that lasts is [ErrTemporary].
func (c *Client) TargetLifecycleState(ctx context.Context) (string, error) {
	start := time.Now()
	const path = "autoscaling/target-lifecycle-state"
	explain := func(r *Refusal, _ int, reason string) error {
		return fmt.Errorf("%w: the instance metadata service: %s: %s, for %s", ErrTemporary, path, reason, r.Within)
	}
	state, err := pollMetadata(ctx, c, nil, refusedByMetadata, explain, func(ctx context.Context, service *imds.Client) (string, error) {
		out, err := service.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() == http.StatusNotFound {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		defer out.Content.Close()
		return readWord(out.Content)
	})
	c.reportMetadataCall(ctx, path, start, err)
	return state, err
}

// MembershipOf returns the instance's group and lifecycle state; both are "" for an
// instance in no group.
func (c *Client) MembershipOf(ctx context.Context, instanceID string) (Membership, error) {
	out, err := callTo(ctx, c, "autoscaling", "DescribeAutoScalingInstances", instanceID, func(ctx context.Context) (*autoscaling.DescribeAutoScalingInstancesOutput, error) {
		return c.autoscaling.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{instanceID}})
	})
	if err != nil {
		return Membership{}, err
	}
	for _, i := range out.AutoScalingInstances {
		if aws.ToString(i.InstanceId) == instanceID {
			return Membership{Group: aws.ToString(i.AutoScalingGroupName), State: aws.ToString(i.LifecycleState)}, nil
		}
	}
	return Membership{}, nil
}

// LaunchHooks returns the names of a group's launch hooks. It needs a permission that policies
// for earlier versions lack, so that a denied call is not retried.
func (c *Client) LaunchHooks(ctx context.Context, group string) (names []string, err error) {
	result, err := c.queryAutoScaling(withoutRefusalRetries(ctx), "DescribeLifecycleHooks", group, url.Values{"AutoScalingGroupName": {group}})
	if err != nil {
		return nil, err
	}
	for _, h := range result.child("LifecycleHooks").children {
		if h.value("LifecycleTransition") == "autoscaling:EC2_INSTANCE_LAUNCHING" {
			names = append(names, h.value("LifecycleHookName"))
		}
	}
	return names, nil
}

// CompleteLifecycleAction ends an instance's wait in a launch hook, with [Continue] or
// [Abandon]. If the instance does not wait in that hook, the error is [ErrNoAction].
func (c *Client) CompleteLifecycleAction(ctx context.Context, group, hook, instanceID, result string) error {
	_, err := c.queryAutoScaling(ctx, "CompleteLifecycleAction", result+" of "+instanceID+" in "+hook+" of "+group, url.Values{
		"AutoScalingGroupName": {group}, "LifecycleHookName": {hook}, "InstanceId": {instanceID}, "LifecycleActionResult": {result},
	})
	return err
}

// RecordHeartbeat restarts the timeout of a lifecycle action. If the instance does not wait
// in that hook, the error is [ErrNoAction].
func (c *Client) RecordHeartbeat(ctx context.Context, group, hook, instanceID string) error {
	_, err := c.queryAutoScaling(ctx, "RecordLifecycleActionHeartbeat", instanceID+" in "+hook+" of "+group, url.Values{
		"AutoScalingGroupName": {group}, "LifecycleHookName": {hook}, "InstanceId": {instanceID},
	})
	return err
}

// wordMax is longer than any lifecycle state.
const wordMax = 256

// readWord reads a one-word value of the metadata service.
func readWord(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, wordMax))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}
