package ec2ops

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// What EC2 allows the callers of one account in a region together, as token buckets: so
// many calls at once, and so many a second. (EC2 developer guide, "Request throttling
// for the Amazon EC2 API")
const (
	DescribeBurst   = 100 // of each Describe action, with a filter, an id or a page size
	AttachBurst     = 50  // of AttachVolume: the scarcest of a launch's calls
	AttachRate      = 5
	MutationsShared = 4 // a launch's calls, if all that change something draw on one such bucket, as the EBS CSI driver assumes (pkg/cloud/retry_manager.go)
)

// A call that was refused for its rate is made again after a pause of full jitter, which
// spreads those who were refused at the same moment. Whoever waits behind n others can't
// be served within n/20 or n/5 s, so shorter pauses only make more refusals.
const (
	describePause = 4 * time.Second
	// firstMutationPause is doubled after each refusal, up to lastMutationPause.
	firstMutationPause = 2 * time.Second
	lastMutationPause  = 16 * time.Second
)

type noThrottleRetriesKey struct{}

// Once gives a context whose calls are not made again when EC2 refuses them for their
// rate: their error wraps [ErrThrottled].
func Once(ctx context.Context) context.Context {
	return context.WithValue(ctx, noThrottleRetriesKey{}, true)
}

type noRefusalRetriesKey struct{}

// believed gives a context whose calls take the first [Refusal] for an answer: nothing
// depends on it but a remark.
func withoutRefusalRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, noRefusalRetriesKey{}, true)
}

// Throttled says whether EC2 has refused a call of this client for its rate, which tells
// that many are at work in this account.
func (c *Client) Throttled() bool { return c.throttled.Load() }

// throttledError is an attempt that was refused for its rate.
type throttledError struct {
	operation string
	err       error
}

func (e *throttledError) Error() string { return e.err.Error() }
func (e *throttledError) Unwrap() error { return e.err }

// rememberThrottled notes that calls are refused, and tells of which action the error is.
func (c *Client) rememberThrottled(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RememberThrottled", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleFinalize(ctx, in)
		if api, ok := errors.AsType[smithy.APIError](err); ok && errors.Is(kinds[api.ErrorCode()], ErrThrottled) {
			c.throttled.Store(true)
			err = &throttledError{middleware.GetOperationName(ctx), err}
		}
		return out, metadata, err
	}), "Retry", middleware.After)
}

// throttledPause is the longest pause after the nth refusal of a call, from 1.
func throttledPause(operation string, n int) time.Duration {
	if strings.HasPrefix(operation, "Describe") {
		return describePause
	}
	return min(lastMutationPause, firstMutationPause<<min(max(n-1, 0), 10))
}
