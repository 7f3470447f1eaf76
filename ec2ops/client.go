package ec2ops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

const (
	// maxBackoff bounds the pause before a throttled call is tried again. EC2
	// refills 5 tokens a second for calls that change something, so longer
	// pauses only leave tokens unused.
	maxBackoff = 8 * time.Second

	// maxAttempts is only a backstop: the caller's deadline ends the retries.
	maxAttempts = 1000
)

// Call is one exchange with AWS, as told to [Options.OnCall].
type Call struct {
	Action string // "CreateVolume"
	Start  time.Time
	Took   time.Duration
	Err    error // nil, or the translated error
}

// Options of [New].
type Options struct {
	// UserAgent is added to the SDK's own: "snapsource/1.2.3".
	UserAgent string
	// OnCall, when set, is told of every finished call, retries included in its
	// time. It is called from whichever goroutine made the call.
	OnCall func(Call)
	// Dial, when set, opens connections in place of the network; for tests and
	// simulations.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client speaks to EC2 and to the instance metadata service. It is safe for
// concurrent use once [Client.Identify] has returned.
type Client struct {
	imds     *imds.Client
	metadata statusClient // what imds sends its requests through
	ec2      *ec2.Client
	cfg      aws.Config
	onCall   func(Call)
}

// New prepares a client from the SDK's standard settings. It makes no request.
// Without a region in those settings, [Client.Identify] sets the instance's own.
func New(ctx context.Context, o Options) (*Client, error) {
	c := &Client{onCall: o.OnCall}
	c.metadata.client = metadataClient(o.Dial)
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(httpClient(o.Dial)),
		config.WithRetryer(patient),
		config.WithAppID(o.UserAgent),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = roleMetadata{c} }),
	)
	if err != nil {
		return nil, fmt.Errorf("read the AWS SDK's settings: %w", err)
	}
	c.cfg = cfg
	c.cfg.HTTPClient = frozen(cfg.HTTPClient)
	if c.onCall == nil {
		c.onCall = func(Call) {}
	}
	c.imds = imds.NewFromConfig(c.cfg, func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary // version 2 only
		o.HTTPClient = &c.metadata
		o.Retryer = aws.NopRetryer{} // Identify has its own loop, which says why it waits
	})
	c.ec2 = ec2.NewFromConfig(c.cfg)
	return c, nil
}

// Region is the AWS region that calls go to; "" while none is known.
func (c *Client) Region() string { return c.cfg.Region }

// patient retries what is temporary until the context ends. The SDK's default
// gives up after 3 attempts and adds a client-side budget of retries, which a
// throttled fleet uses up in seconds.
func patient() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(backoff)
	})
}

// backoff gives a pause of full jitter: 0 to 0.25 s, then to 0.5 s, … 8 s. Full
// jitter spreads a fleet that was throttled at the same moment.
func backoff(attempt int, _ error) (time.Duration, error) {
	limit := maxBackoff
	if attempt < 6 {
		limit = min(maxBackoff, 250*time.Millisecond<<max(attempt, 0))
	}
	return rand.N(limit), nil
}

// call makes one request, tells OnCall, and translates the error.
func call[Out any](ctx context.Context, c *Client, action, resource string, do func() (Out, error)) (Out, error) {
	start := time.Now()
	out, err := do()
	err = translate("ec2:"+action, resource, err)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	c.onCall(Call{Action: action, Start: start, Took: time.Since(start), Err: err})
	return out, err
}
