package ec2ops

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// What EC2 allows the callers of one account in a region together, as token buckets: so
// many calls at once, and so many a second. (EC2 developer guide, "Request throttling
// for the Amazon EC2 API")
const (
	DescribeBurst   = 100 // of each Describe action, with a filter, an id or a page size
	DescribeRate    = 20
	AttachBurst     = 50 // of AttachVolume: the scarcest of a launch's calls
	AttachRate      = 5
	MutationsShared = 4 // a launch's calls, if all that change something draw on one such bucket, as the EBS CSI driver assumes (pkg/cloud/retry_manager.go)
)

const (
	// firstThrottled and lastThrottled are the longest pauses before a call that was
	// refused for its rate is made again the first time, and any later time: twice as
	// long each time. Whoever waits behind n others at 5 a second can't be served
	// within n/5 s, so shorter pauses only make more refusals.
	firstThrottled = 2 * time.Second
	lastThrottled  = 16 * time.Second
)

type onceKey struct{}

// Once gives a context whose calls are not made again when EC2 refuses them for their
// rate: their error wraps [ErrThrottled].
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// Throttled says whether EC2 has refused a call of this client for its rate, which tells
// that many are at work in this account.
func (c *Client) Throttled() bool { return c.throttled.Load() }

// isThrottled says whether EC2 has refused a call for its rate.
func isThrottled(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && errors.Is(kinds[api.ErrorCode()], ErrThrottled)
}

// retryer is the SDK's, which knows of [Once].
type retryer struct {
	*retry.Standard
	client *Client
}

// GetRetryToken decides, with the call's context, whether there is another attempt.
func (r retryer) GetRetryToken(ctx context.Context, err error) (release func(error) error, _ error) {
	if isThrottled(err) {
		r.client.throttled.Store(true)
		if ctx.Value(onceKey{}) != nil {
			return nil, ErrThrottled
		}
	}
	return r.Standard.GetRetryToken(ctx, err)
}

var _ aws.RetryerV2 = retryer{}

// throttledPause gives a pause of full jitter, which spreads those who were refused at
// the same moment. Attempts count from 1.
func throttledPause(attempt int) time.Duration {
	limit := lastThrottled
	if attempt < 5 {
		limit = min(limit, firstThrottled<<max(attempt-1, 0))
	}
	return rand.N(limit)
}
