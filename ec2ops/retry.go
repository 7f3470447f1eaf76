package ec2ops

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

const (
	// maxBackoff is the longest pause between two attempts at a call.
	maxBackoff = 8 * time.Second

	// refusalBackoff is the longest pause after a [Refusal]. Several attempts fit into the
	// shortest time in the table.
	refusalBackoff = 2 * time.Second

	// maxAttempts is only a backstop: the caller's deadline ends the retries.
	maxAttempts = 1000
)

// retryableCodes are retryable error codes that the SDK does not retry. RequestExpired and
// its kin end once the clock is set, soon after boot; ConcurrentTagAccess ends with the
// other writer's call.
var retryableCodes = []string{"RequestExpired", "ExpiredToken", "ExpiredTokenException", "InvalidSecurity.RequestHasExpired", "ConcurrentTagAccess"}

// newRetryer returns a retryer that retries temporary errors until the context ends. It
// does not retry the error codes in except. The SDK's default gives up after 3 attempts and
// adds a client-side retry quota, which a throttled fleet uses up in seconds.
//
// A response that can't be parsed is retried: all our calls are idempotent, except
// CreateSnapshot, which is never retried. On an instance, missing credentials are retried:
// the metadata service has responded before and will again. A [Refusal] is retried for the
// time in the table.
func (c *Client) newRetryer(except ...string) aws.Retryer {
	return retryer{c, retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(c.backoff)
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if api, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(except, api.ErrorCode()) {
				return aws.FalseTernary
			}
			if c.refusalOf(err) != nil || credentialsOf(err) == fromMetadata && c.onInstance {
				return aws.TrueTernary
			}
			if api, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(retryableCodes, api.ErrorCode()) {
				// Outside an instance only a new login helps against an expired token.
				return aws.BoolTernary(c.onInstance || !strings.HasPrefix(api.ErrorCode(), "ExpiredToken"))
			}
			if _, unreadable := errors.AsType[*smithy.DeserializationError](err); unreadable || errors.Is(err, errForeignBody) {
				return aws.TrueTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
	})}
}

// backoff returns a pause with full jitter: up to 0.5 s, then up to 1 s, … 8 s; longer
// after a throttled attempt.
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

// retryer is the SDK's retryer with support for [WithoutThrottleRetries] and for the table of refusals.
type retryer struct {
	c *Client
	*retry.Standard
}

// GetRetryToken decides, from the call's context, whether there is another attempt.
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

// failure is the error of a call's last attempt. When the caller's deadline ends the
// retries, this is the error to report.
type failure struct {
	mu      sync.Mutex
	err     error
	asking  RefusalTimer
	lasting bool // the refusal of the last attempt has lasted for the time in the table
}

type failureKey struct{}

func (f *failure) last() (err error, lasting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err, f.lasting
}

// mayRetry records a failed attempt and says whether there may be another.
func (f *failure) mayRetry(r *Refusal) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lasting = f.asking.Lasting(r)
	return !f.lasting
}

// rememberFailure records the error of each attempt in the call's [failure].
func rememberFailure(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RememberFailure", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
		out, metadata, err = next.HandleFinalize(ctx, in)
		// An error caused by the deadline has no information.
		if f, ok := ctx.Value(failureKey{}).(*failure); ok && err != nil && ctx.Err() == nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
		}
		return out, metadata, err
	}), "Retry", middleware.After)
}

// isTimeout says whether an attempt timed out waiting for a response.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
