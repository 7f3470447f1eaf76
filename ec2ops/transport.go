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
	// attemptTimeout bounds one HTTP exchange with EC2. Most calls take well under 2 s;
	// CreateVolume, the slowest, was seen to take several. Without this limit one missing
	// response would use up the whole deadline.
	attemptTimeout = 10 * time.Second

	// metadataTimeout bounds a connection to the metadata service and the wait for its
	// response. Both take about a millisecond on an instance.
	metadataTimeout = time.Second
)

// dialer opens connections; see [Options.Dial].
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// withTimeout bounds the opening of a connection.
func (dial dialer) withTimeout(d time.Duration) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// httpClient returns the client for EC2. The SDK adds its own settings to it, such as
// AWS_CA_BUNDLE; [withFixedDialer] ends that.
func httpClient(dial dialer) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(attemptTimeout).WithTransportOptions(func(t *http.Transport) {
		t.Proxy = proxyExceptLinkLocal
		if dial != nil {
			t.DialContext, t.Proxy = dial, nil
		}
	})
}

// withFixedDialer returns a client that keeps its dialer: the SDK's service clients would
// replace it with one of their own.
func withFixedDialer(c aws.HTTPClient) aws.HTTPClient {
	if buildable, ok := c.(*awshttp.BuildableClient); ok {
		return buildable.Freeze()
	}
	return c
}

// metadataClient returns the client for the metadata service. It uses no proxy: a proxy
// can't reach a link-local address for us.
func metadataClient(dial dialer) aws.HTTPClient {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext, t.Proxy = dial.withTimeout(metadataTimeout), nil
		t.ResponseHeaderTimeout = metadataTimeout
	}).Freeze()
}

// proxyExceptLinkLocal uses the environment's proxy, except for link-local addresses: those
// at which containers find their credentials.
func proxyExceptLinkLocal(r *http.Request) (*url.URL, error) {
	if ip := net.ParseIP(r.URL.Hostname()); ip != nil && ip.IsLinkLocalUnicast() {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
