package ec2ops

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/logging"
)

// Call is one exchange with AWS, as told to [Options.OnCall].
type Call struct {
	Service  string // "ec2", "autoscaling", or "metadata" for the instance metadata service
	Action   string // "CreateVolume"
	Start    time.Time
	Took     time.Duration
	Sent     time.Time // when the first request of it was sent; zero if none was
	Answered time.Time // when the last answer had come
	Attempts int       // requests that were sent: retries, and further pages
	Err      error     // nil, or the translated error
}

// Options of [New].
type Options struct {
	// UserAgent is added to the SDK's own: "snapsource/1.2.3".
	UserAgent string
	// OnCall, when set, is told of every finished call, retries included in its
	// time. It is called from whichever goroutine made the call.
	OnCall func(Call)
	// Seed is of the jitter of pauses: clients that have the same make the same pauses
	// for the same answers. 0 is a different one each time.
	Seed uint64
	// Dial, when set, opens connections in place of the network; for tests and
	// simulations.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client speaks to EC2, to Amazon EC2 Auto Scaling, and to the instance metadata service. It is safe for
// concurrent use once [Client.Identify] has returned.
type Client struct {
	imds        atomic.Pointer[imds.Client] // see newMetadata
	metadata    statusClient                // what it sends its requests through
	ec2         *ec2.Client
	autoscaling *autoscaling.Client
	cfg         aws.Config
	onCall      func(Call)

	onInstance bool // Identify has had an answer
	throttled  atomic.Bool
	jitters    jitterSource
}

// New prepares a client from the SDK's standard settings. It makes no request.
// Without a region in those settings, [Client.Identify] sets the instance's own.
func New(ctx context.Context, o Options) (*Client, error) {
	c := &Client{onCall: o.OnCall, jitters: newJitterSource(o.Seed)}
	c.metadata.client = metadataClient(o.Dial)
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(httpClient(o.Dial)),
		config.WithRetryer(func() aws.Retryer { return c.newRetryer() }),
		config.WithAppID(o.UserAgent),
		config.WithLogger(logging.Nop{}), // its warnings would stand between our lines on stderr
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = roleMetadata{c} }),
	)
	if err != nil {
		return nil, fmt.Errorf("read the AWS SDK's settings: %w", err)
	}
	c.cfg = cfg
	c.cfg.HTTPClient = timingClient{withFixedDialer(cfg.HTTPClient)}
	if c.onCall == nil {
		c.onCall = func(Call) {}
	}
	c.imds.Store(c.newMetadata())
	c.newServiceClients()
	return c, nil
}

// connect makes the clients of the services with the present configuration.
func (c *Client) newServiceClients() {
	c.ec2 = ec2.NewFromConfig(c.cfg, func(o *ec2.Options) {
		o.APIOptions = append(o.APIOptions, requireRootElement, rememberFailure, c.rememberThrottled)
	})
	c.autoscaling = autoscaling.NewFromConfig(c.cfg, func(o *autoscaling.Options) {
		o.APIOptions = append(o.APIOptions, requireRootElement, rememberFailure, c.rememberThrottled)
	})
}

// Region is the AWS region that calls go to; "" while none is known.
func (c *Client) Region() string { return c.cfg.Region }

// call makes one request, tells OnCall, and translates the error. When the deadline is
// what ended it, the error is that of the last attempt before.
func call[Out any](ctx context.Context, c *Client, action, resource string, do func(ctx context.Context) (Out, error)) (Out, error) {
	return callTo(ctx, c, "ec2", action, resource, do)
}

// callTo is call for another service than EC2.
func callTo[Out any](ctx context.Context, c *Client, service, action, resource string, do func(ctx context.Context) (Out, error)) (Out, error) {
	start := time.Now()
	var attempts failure
	var sent exchanges
	out, err := do(context.WithValue(context.WithValue(ctx, failureKey{}, &attempts), exchangesKey{}, &sent))
	last, lasting := attempts.last()
	if last != nil && err != nil && (ctx.Err() != nil || lasting) {
		err = last
	}
	if err != nil {
		refusal := c.refusalOf(err)
		early := refusal != nil && !lasting && ctx.Err() != nil
		err = translate(service+":"+action, resource, err, refusal, early)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	made := Call{Service: service, Action: action, Start: start, Took: time.Since(start), Err: err}
	sent.addTo(&made)
	c.onCall(made)
	return out, err
}

// invalidateCredentials has the next call fetch the credentials anew.
func (c *Client) invalidateCredentials() {
	if cache, ok := c.cfg.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// reportMetadataCall tells OnCall of an exchange with the metadata service.
func (c *Client) reportMetadataCall(what string, start time.Time, err error) {
	now := time.Now()
	c.onCall(Call{Service: "metadata", Action: what, Start: start, Took: now.Sub(start), Sent: start, Answered: now, Attempts: 1, Err: err})
}
