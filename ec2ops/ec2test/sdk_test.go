package ec2test_test

import (
	"context"
	"errors"
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

// piped returns a client in memory, of an instance or, with "", of the operator.
func piped(t *testing.T, s *ec2test.Server, instanceID string) *ec2.Client {
	t.Helper()
	network := ec2test.NewNetwork(s)
	t.Cleanup(network.Close)
	return client("http://ec2.ec2test.internal", func(o *ec2.Options) {
		o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: network.Dial(instanceID)}}
	})
}

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
