package ec2ops

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// EC2's rate limits for all callers of an account in a region, as token buckets: a burst,
// and a refill rate per second. (EC2 developer guide, "Request throttling for the Amazon
// EC2 API")
const (
	DescribeBurst   = 100 // per Describe action, with a filter, an id or a page size
	TagBurst        = 100 // CreateTags
	TagRate         = 10.0
	AttachBurst     = 50 // AttachVolume: the scarcest of a launch's calls
	AttachRate      = 5
	MutationsShared = 4 // a launch's mutating calls, if all mutating actions share one such bucket, as the EBS CSI driver assumes (pkg/cloud/retry_manager.go)
)

// A throttled call is retried after a pause with full jitter, which spreads calls that were
// throttled at the same moment. Behind n other callers a call can't succeed for n/20 or n/5
// s, so shorter pauses only cause more throttling.
const (
	describePause = 4 * time.Second
	// firstMutationPause doubles with each throttled attempt, up to lastMutationPause.
	firstMutationPause = 2 * time.Second
	lastMutationPause  = 16 * time.Second
)

type noThrottleRetriesKey struct{}

// WithoutThrottleRetries returns a context whose calls are not retried when EC2 throttles them; their error
// then wraps [ErrThrottled].
func WithoutThrottleRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, noThrottleRetriesKey{}, true)
}

type noRefusalRetriesKey struct{}

// withoutRefusalRetries returns a context whose calls fail at their first [Refusal]: for
// calls on which only a message depends.
func withoutRefusalRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, noRefusalRetriesKey{}, true)
}

// Throttled says whether EC2 has throttled any call of this client: a sign of many
// concurrent callers in this account.
func (c *Client) Throttled() bool { return c.throttled.Load() }

// throttledError is the error of a throttled attempt.
type throttledError struct {
	operation string
	err       error
}

func (e *throttledError) Error() string { return e.err.Error() }
func (e *throttledError) Unwrap() error { return e.err }

// rememberThrottled records that calls are throttled, and adds the operation to the error.
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

// throttledPause returns the longest pause after the nth throttled attempt, from 1.
func throttledPause(operation string, n int) time.Duration {
	if strings.HasPrefix(operation, "Describe") {
		return describePause
	}
	return min(lastMutationPause, firstMutationPause<<min(max(n-1, 0), 10))
}
