package ec2test_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	"snapsource/ec2ops/ec2test"
)

// client returns the real SDK's client for an endpoint.
func client(url string, options ...func(*ec2.Options)) *ec2.Client {
	return ec2.New(ec2.Options{
		BaseEndpoint: aws.String(url), Region: ec2test.DefaultRegion, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA0123456789EXAMPL", SecretAccessKey: "secret"}, nil
		}),
	}, options...)
}

// piped returns a client that talks to a handler over net.Pipe, so that it works
// inside a synctest bubble. The server ends with the test.
func piped(t *testing.T, handler http.Handler) *ec2.Client {
	t.Helper()
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case listener.conns <- far:
			return near, nil
		case <-listener.closed:
			return nil, net.ErrClosed
		}
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return client("http://ec2.invalid", func(o *ec2.Options) { o.HTTPClient = &http.Client{Transport: transport} })
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// code returns EC2's code of an error: "ok" for nil.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// volumeState returns a volume's and its attachment's state; "gone" if EC2 does
// not know it.
func volumeState(t *testing.T, c *ec2.Client, id string) string {
	t.Helper()
	answer, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if code(err) == "InvalidVolume.NotFound" {
		return "gone"
	}
	if err != nil {
		t.Fatal(err)
	}
	v := answer.Volumes[0]
	if len(v.Attachments) > 0 {
		return string(v.State) + " " + string(v.Attachments[0].State)
	}
	return string(v.State)
}

// wait lets time pass; inside a bubble it costs none.
func wait(d time.Duration) { time.Sleep(d) }

func create(t *testing.T, c *ec2.Client, change func(*ec2.CreateVolumeInput)) (*ec2.CreateVolumeOutput, error) {
	t.Helper()
	in := &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(ec2test.DefaultZone), Size: aws.Int32(5), VolumeType: "gp3",
		ClientToken: aws.String("token"),
	}
	if change != nil {
		change(in)
	}
	return c.CreateVolume(t.Context(), in)
}
