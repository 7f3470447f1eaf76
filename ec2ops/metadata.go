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

// newMetadata gives a client of the metadata service, version 2 only, that has no token
// yet and makes each request once. A token lasts 5 minutes; after a failure a new client
// is the SDK's only way to another one.
func (c *Client) newMetadata() *imds.Client {
	return imds.NewFromConfig(c.cfg, func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary
		o.HTTPClient = &c.metadata
		o.Retryer = aws.NopRetryer{}
	})
}

// statusClient notes the HTTP status of the last answer to a request, the token's
// included: the SDK's error for a refused token does not give it.
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

// metadataError is a request to the metadata service that failed.
type metadataError struct {
	status int // of the answer; 0: none
	err    error
}

func (e *metadataError) Error() string { return e.err.Error() }
func (e *metadataError) Unwrap() error { return e.err }

// MetadataAnswered says whether an error comes from an answer of a metadata service: there is
// one, whatever it says.
func MetadataAnswered(err error) bool {
	answer, ok := errors.AsType[*metadataError](err)
	return ok && answer.status != 0
}

// metadataAttemptTimeout bounds one request, its token included.
const metadataAttemptTimeout = 5 * time.Second

// requestMetadata makes one request to the metadata service, and after one that fails has
// the next begin with a new token. Errors are [*metadataError].
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

// metadataDisabled is the setting that turns the SDK's client off, as its error names it.
const metadataDisabled = "AWS_EC2_METADATA_DISABLED"

// pollMetadata asks the metadata service until it answers or a refusal lasts, whose
// error is then what explain makes of it. waiting, when not nil, is told why it takes
// longer. When ctx ends, the error wraps [ErrTemporary].
func pollMetadata[Out any](ctx context.Context, c *Client, waiting func(reason string),
	refusalFor func(status int) *Refusal, explain func(r *Refusal, status int, reason string) error,
	do func(ctx context.Context, service *imds.Client) (Out, error),
) (Out, error) {
	pause := c.newPollDelay("identity", 100*time.Millisecond, 2*time.Second)
	last := error(&metadataError{0, errors.New("no answer yet")})
	for asking := (Asking{}); ; {
		out, err := requestMetadata(ctx, c, do)
		if err == nil {
			return out, nil
		}
		if strings.Contains(err.Error(), metadataDisabled) { // no answer that could change
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
			return out, fmt.Errorf("%w: the instance metadata service: %w (%w)", ErrTemporary, last, sleepErr)
		}
	}
}

// metadataReason tells a person why a request failed.
func metadataReason(status int, err error) string {
	if status >= http.StatusMultipleChoices {
		return fmt.Sprintf("it answers %d %s", status, http.StatusText(status))
	}
	reason := innermost(err)
	if isTimeout(err) {
		reason = "no answer"
	}
	if _, cause, sent := strings.Cut(reason, "request send failed, "); sent {
		reason = cause // the SDK's own words before it tell a person nothing
	}
	return reason
}

// refusedByMetadata sorts an answer to the request for a token or for something that
// every instance has.
func refusedByMetadata(status int) *Refusal {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return MetadataRefused
	}
	return NoMetadata
}

// roleMetadata is the metadata service as the SDK asks it for the role's credentials. By
// itself the SDK would use a client that falls back to version 1. The call that needs the
// credentials is what asks again.
type roleMetadata struct{ c *Client }

func (m roleMetadata) GetMetadata(ctx context.Context, in *imds.GetMetadataInput, more ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	start := time.Now()
	out, err := requestMetadata(ctx, m.c, func(ctx context.Context, service *imds.Client) (*imds.GetMetadataOutput, error) {
		return service.GetMetadata(ctx, in, more...)
	})
	m.c.reportMetadataCall(strings.Trim(in.Path, "/"), start, err)
	return out, err
}
