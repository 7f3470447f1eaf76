package ec2ops

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// attemptTimeout bounds one HTTP exchange with EC2. Calls answer in well
	// under 2 s; CreateVolume, the slowest one, has been seen to take several.
	// Without it, an answer that never comes would use up the whole deadline.
	attemptTimeout = 10 * time.Second

	// metadataTimeout bounds connecting to the metadata service and its answer,
	// which take about a millisecond on an instance.
	metadataTimeout = time.Second
)

// dialer opens connections; see [Options.Dial].
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// within bounds the opening of a connection.
func (dial dialer) withTimeout(d time.Duration) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// httpClient gives the client for EC2, to which the SDK still adds what its settings
// say, such as AWS_CA_BUNDLE; [frozen] ends that.
func httpClient(dial dialer) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(attemptTimeout).WithTransportOptions(func(t *http.Transport) {
		t.Proxy = proxyExceptLinkLocal
		if dial != nil {
			t.DialContext, t.Proxy = dial, nil
		}
	})
}

// frozen gives a client that keeps its dialer: the SDK's service clients would put
// one of their own in its place.
func withFixedDialer(c aws.HTTPClient) aws.HTTPClient {
	if buildable, ok := c.(*awshttp.BuildableClient); ok {
		return buildable.Freeze()
	}
	return c
}

// metadataClient gives the client for the metadata service, which no proxy can reach
// for us.
func metadataClient(dial dialer) aws.HTTPClient {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext, t.Proxy = dial.withTimeout(metadataTimeout), nil
		t.ResponseHeaderTimeout = metadataTimeout
	}).Freeze()
}

// proxyExceptLinkLocal keeps the proxy settings of the environment away from the
// link-local addresses at which containers find their credentials.
func proxyExceptLinkLocal(r *http.Request) (*url.URL, error) {
	if ip := net.ParseIP(r.URL.Hostname()); ip != nil && ip.IsLinkLocalUnicast() {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
