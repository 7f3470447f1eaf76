package ec2ops

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

const (
	// maxBackoff bounds the pause before a call that failed is made again.
	maxBackoff = 8 * time.Second

	// refusalBackoff is the same after a [Refusal]: several tries fit into the shortest
	// time of the table.
	refusalBackoff = 2 * time.Second

	// maxAttempts is only a backstop: the caller's deadline ends the retries.
	maxAttempts = 1000
)

// passing are codes that pass by themselves, which the SDK does not know: the clock is
// set soon after boot, and two writers of one resource's tags are so for a moment.
var retryableCodes = []string{"RequestExpired", "ExpiredToken", "ExpiredTokenException", "InvalidSecurity.RequestHasExpired", "ConcurrentTagAccess"}

// patient retries what is temporary until the context ends, and what is not in but, a
// list of EC2's error codes. The SDK's default gives up after 3 attempts and adds a
// client-side budget of retries, which a throttled fleet uses up in seconds.
//
// An answer that can't be read is no answer: every call of ours but CreateSnapshot, which
// is never retried, may be made twice. On an instance the metadata service, which has
// answered before, will give credentials again. A [Refusal] is asked again for as long as
// the table has it.
func (c *Client) newRetryer(but ...string) aws.Retryer {
	return retryer{c, retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(c.backoff)
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if api, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(but, api.ErrorCode()) {
				return aws.FalseTernary
			}
			if c.refusalOf(err) != nil || credentialsOf(err) == fromMetadata && c.onInstance {
				return aws.TrueTernary
			}
			if api, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(retryableCodes, api.ErrorCode()) {
				return aws.TrueTernary
			}
			if _, unreadable := errors.AsType[*smithy.DeserializationError](err); unreadable || errors.Is(err, errForeignBody) {
				return aws.TrueTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
	})}
}

// backoff gives a pause of full jitter: 0 to 0.5 s, then to 1 s, … 8 s, and longer ones
// after a refusal for the rate of calls.
func (c *Client) backoff(attempt int, err error) (time.Duration, error) {
	if refused, ok := errors.AsType[*throttledError](err); ok {
		return c.jitter(refused.operation, throttledPause(refused.operation, attempt)), nil
	}
	limit := maxBackoff
	if c.refusalOf(err) != nil {
		limit = refusalBackoff
	}
	if attempt < 6 {
		limit = min(limit, 250*time.Millisecond<<max(attempt, 0))
	}
	return c.jitter("failure", limit), nil
}

// retryer is the SDK's, which knows of [Once] and of the table of refusals.
type retryer struct {
	c *Client
	*retry.Standard
}

// GetRetryToken decides, by the call's context, whether there is another attempt.
func (r retryer) GetRetryToken(ctx context.Context, err error) (release func(error) error, _ error) {
	if _, refused := errors.AsType[*throttledError](err); refused && ctx.Value(noThrottleRetriesKey{}) != nil {
		return nil, ErrThrottled
	}
	refusal := r.c.refusalOf(err)
	if refusal != nil && ctx.Value(noRefusalRetriesKey{}) != nil {
		return nil, errLasting
	}
	if f, ok := ctx.Value(failureKey{}).(*failure); ok && !f.mayRetry(refusal) {
		return nil, errLasting
	}
	if refusal == BadCredentials || refusal == UnknownKey {
		r.c.invalidateCredentials()
	}
	return r.Standard.GetRetryToken(ctx, err)
}

var _ aws.RetryerV2 = retryer{}

// failure is how the last attempt of a call went wrong: when the caller's deadline ends
// the retries, that is what a person wants to know.
type failure struct {
	mu      sync.Mutex
	err     error
	asking  Asking
	lasting bool // the last attempt's refusal was the answer for as long as the table has it
}

type failureKey struct{}

func (f *failure) last() (err error, lasting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err, f.lasting
}

// again notes an attempt that failed and says whether there may be another.
func (f *failure) mayRetry(r *Refusal) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lasting = f.asking.Lasting(r)
	return !f.lasting
}

// rememberFailure notes each attempt's error in the call's [failure].
func rememberFailure(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RememberFailure", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
		out, metadata, err = next.HandleFinalize(ctx, in)
		// What fails because the deadline is over says nothing.
		if f, ok := ctx.Value(failureKey{}).(*failure); ok && err != nil && ctx.Err() == nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
		}
		return out, metadata, err
	}), "Retry", middleware.After)
}

// isTimeout says whether an attempt ended because no answer came.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
