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

// Call describes one finished call to AWS, for [Options.OnCall].
type Call struct {
	Service  string // "ec2", "autoscaling", or "metadata" for the instance metadata service
	Action   string // "CreateVolume"
	Source   string // of [WithSource]; "" if the call is for no source, or for all
	Start    time.Time
	Took     time.Duration
	Sent     time.Time // when its first request was sent; zero if none was
	Answered time.Time // when its last response was read
	Attempts int       // HTTP requests sent, including retries and further pages
	Err      error     // nil, or the translated error
}

// Options of [New].
type Options struct {
	// UserAgent is added to the SDK's own: "snapsource/1.2.3".
	UserAgent string
	// OnCall, when set, is called after every call. The call's duration includes its
	// retries. OnCall runs on the goroutine that made the call.
	OnCall func(Call)
	// Seed seeds the jitter of pauses: clients with the same seed pause equally after the
	// same responses. 0 draws a random seed.
	Seed uint64
	// Patience, when positive, bounds how long [Client.Identify] waits for a metadata service
	// that does not respond, or that is not EC2's; then the error is [ErrNotEC2]. It is for
	// commands that a person types. 0: as in the table of refusals.
	Patience time.Duration
	// Region and Profile, when set, override the SDK's standard settings.
	Region, Profile string
	// Dial, when set, opens connections in place of the network; for tests and simulations.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client calls EC2, Amazon EC2 Auto Scaling and the instance metadata service. It is safe
// for concurrent use once [Client.Identify] has returned.
type Client struct {
	imds        atomic.Pointer[imds.Client] // see newMetadata
	metadata    statusClient                // the HTTP client under imds
	ec2         *ec2.Client
	autoscaling *autoscaling.Client
	cfg         aws.Config
	onCall      func(Call)
	patience    time.Duration // see Options

	onInstance bool // Identify has succeeded
	throttled  atomic.Bool
	jitters    jitterSource
}

// New prepares a client from the SDK's standard settings. It makes no request.
// Without a region in those settings, [Client.Identify] sets the instance's own. Settings
// that can't be used are [ErrSettings].
func New(ctx context.Context, o Options) (*Client, error) {
	c := &Client{onCall: o.OnCall, patience: o.Patience, jitters: newJitterSource(o.Seed)}
	c.metadata.client = metadataClient(o.Dial)
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(httpClient(o.Dial)),
		config.WithRetryer(func() aws.Retryer { return c.newRetryer() }),
		config.WithAppID(o.UserAgent),
		config.WithRegion(o.Region),
		config.WithSharedConfigProfile(o.Profile),
		config.WithLogger(logging.Nop{}), // its warnings would interleave with our lines on stderr
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = roleMetadata{c} }),
	)
	if err != nil {
		return nil, explainSettings(err)
	}
	c.cfg = cfg
	c.cfg.HTTPClient = timingClient{withFixedDialer(cfg.HTTPClient)}
	if c.onCall == nil {
		c.onCall = func(Call) {}
	}
	c.imds.Store(c.newMetadata())
	c.newServiceClients()
	return c, c.checkSettings()
}

// newServiceClients makes the clients of EC2 and Auto Scaling from the current
// configuration.
func (c *Client) newServiceClients() {
	c.ec2 = ec2.NewFromConfig(c.cfg, func(o *ec2.Options) {
		o.APIOptions = append(o.APIOptions, requireRootElement, rememberFailure, c.rememberThrottled)
	})
	c.autoscaling = autoscaling.NewFromConfig(c.cfg, func(o *autoscaling.Options) {
		o.APIOptions = append(o.APIOptions, requireRootElement, rememberFailure, c.rememberThrottled)
	})
}

// Region returns the AWS region of calls; "" while it is unknown.
func (c *Client) Region() string { return c.cfg.Region }

// call makes one call to EC2, retries included, reports it to OnCall, and translates the
// error. If the deadline ended the call, the error is that of the last attempt before the
// deadline.
func call[Out any](ctx context.Context, c *Client, action, resource string, do func(ctx context.Context) (Out, error)) (Out, error) {
	return callTo(ctx, c, "ec2", action, resource, do)
}

// callTo is call for a service other than EC2.
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
	made := Call{Service: service, Action: action, Source: sourceOf(ctx), Start: start, Took: time.Since(start), Err: err}
	sent.addTo(&made)
	c.onCall(made)
	return out, err
}

// invalidateCredentials makes the next call fetch new credentials.
func (c *Client) invalidateCredentials() {
	if cache, ok := c.cfg.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

type sourceKey struct{}

// WithSource makes the client report calls with this source, in [Call].
func WithSource(ctx context.Context, source string) context.Context {
	return context.WithValue(ctx, sourceKey{}, source)
}

func sourceOf(ctx context.Context) string {
	source, _ := ctx.Value(sourceKey{}).(string)
	return source
}

// reportMetadataCall reports a request to the metadata service to OnCall.
func (c *Client) reportMetadataCall(ctx context.Context, what string, start time.Time, err error) {
	now := time.Now()
	c.onCall(Call{Service: "metadata", Action: what, Source: sourceOf(ctx), Start: start, Took: now.Sub(start), Sent: start, Answered: now, Attempts: 1, Err: err})
}
