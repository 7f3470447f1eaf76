package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// newMetadata returns a client of the metadata service, version 2 only, without a token and
// without retries. A token lasts 5 minutes; with the SDK only a new client fetches a new
// one after a failure.
func (c *Client) newMetadata() *imds.Client {
	return imds.NewFromConfig(c.cfg, func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary
		o.HTTPClient = &c.metadata
		o.Retryer = aws.NopRetryer{}
	})
}

// statusClient records the HTTP status of the last response to a request, including the
// token request: the SDK's error for a refused token lacks it.
type statusClient struct{ client aws.HTTPClient }

type statusKey struct{}

func (c *statusClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	if status, ok := r.Context().Value(statusKey{}).(*atomic.Int64); ok {
		status.Store(0)
		if resp != nil {
			status.Store(int64(resp.StatusCode))
		}
	}
	return resp, err
}

// metadataError is a failed request to the metadata service.
type metadataError struct {
	status int // of the response; 0 without one
	err    error
}

func (e *metadataError) Error() string { return e.err.Error() }
func (e *metadataError) Unwrap() error { return e.err }

// MetadataAnswered says whether an error is a response of a metadata service, so that there
// is one.
func MetadataAnswered(err error) bool {
	answer, ok := errors.AsType[*metadataError](err)
	return ok && answer.status != 0
}

// metadataAttemptTimeout bounds one request, including that for a token.
const metadataAttemptTimeout = 5 * time.Second

// requestMetadata makes one request to the metadata service. After a failure the next
// request starts with a new token. Errors are [*metadataError].
func requestMetadata[Out any](ctx context.Context, c *Client, do func(ctx context.Context, service *imds.Client) (Out, error)) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataAttemptTimeout)
	defer cancel()
	var status atomic.Int64
	service := c.imds.Load()
	out, err := do(context.WithValue(ctx, statusKey{}, &status), service)
	if err != nil {
		c.imds.CompareAndSwap(service, c.newMetadata())
		return out, &metadataError{int(status.Load()), err}
	}
	return out, nil
}

// metadataDisabled is the setting that disables the SDK's client, as its error names it.
const metadataDisabled = "AWS_EC2_METADATA_DISABLED"

// pollMetadata repeats a request to the metadata service until it succeeds or a refusal
// lasts; explain returns the error for that. waiting, when not nil, is called with the
// reason for each retry. When ctx ends, the error wraps [ErrTemporary].
func pollMetadata[Out any](ctx context.Context, c *Client, waiting func(reason string),
	refusalFor func(status int) *Refusal, explain func(r *Refusal, status int, reason string) error,
	do func(ctx context.Context, service *imds.Client) (Out, error),
) (Out, error) {
	pause := c.newPollDelay("identity", 100*time.Millisecond, 2*time.Second)
	last := error(&metadataError{0, errors.New("no response yet")})
	for asking := (RefusalTimer{}); ; {
		out, err := requestMetadata(ctx, c, do)
		if err == nil {
			return out, nil
		}
		if strings.Contains(err.Error(), metadataDisabled) { // a setting: no retry
			return out, fmt.Errorf("%w: %s is set", ErrNotEC2, metadataDisabled)
		}
		if ctx.Err() == nil {
			status := 0
			if answer, ok := errors.AsType[*metadataError](err); ok {
				status = answer.status
			}
			reason := metadataReason(status, err)
			last = &metadataError{status, errors.New(reason)}
			if refusal := refusalFor(status); asking.Lasting(refusal) {
				return out, explain(refusal, status, reason)
			}
			if waiting != nil {
				waiting("the instance metadata service: " + reason)
			}
		}
		if sleepErr := pause.sleep(ctx); sleepErr != nil {
			return out, &temporaryError{fmt.Errorf("the instance metadata service: %w: %w", last, sleepErr)}
		}
	}
}

// metadataReason says why a request failed, for a person.
func metadataReason(status int, err error) string {
	if status >= http.StatusMultipleChoices {
		return fmt.Sprintf("its response is %d %s", status, http.StatusText(status))
	}
	reason := innermost(err)
	if isTimeout(err) {
		reason = "no response"
	}
	if _, cause, sent := strings.Cut(reason, "request send failed, "); sent {
		reason = cause // the SDK's prefix has no information
	}
	return requestReason(reason)
}

// temporaryError is an error with its own text that is an [ErrTemporary].
type temporaryError struct{ error }

// Unwrap returns the kind and the cause.
func (e *temporaryError) Unwrap() []error { return []error{ErrTemporary, e.error} }

// refusedByMetadata returns the refusal for a response to the request for a token, or for
// something that every instance has.
func refusedByMetadata(status int) *Refusal {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return MetadataRefused
	}
	return NoMetadata
}

// roleMetadata is the metadata client with which the SDK fetches the role's credentials.
// The SDK's own client would fall back to version 1. It does not retry: the call that needs
// the credentials does.
type roleMetadata struct{ c *Client }

func (m roleMetadata) GetMetadata(ctx context.Context, in *imds.GetMetadataInput, more ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	start := time.Now()
	out, err := requestMetadata(ctx, m.c, func(ctx context.Context, service *imds.Client) (*imds.GetMetadataOutput, error) {
		return service.GetMetadata(ctx, in, more...)
	})
	m.c.reportMetadataCall(ctx, strings.Trim(in.Path, "/"), start, err)
	return out, err
}
