package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// In returns a client for another region, with the same credentials and settings.
func (c *Client) In(region string) *Client {
	other := &Client{metadata: c.metadata, cfg: c.cfg.Copy(), onCall: c.onCall, patience: c.patience, onInstance: c.onInstance, jitters: c.jitters}
	other.cfg.Region = region
	other.imds.Store(c.imds.Load())
	other.newServiceClients()
	return other
}

// CopySpec holds the parameters of [Client.CopySnapshot].
type CopySpec struct {
	SourceRegion, SnapshotID string

	Description string            // at most [DescriptionMax] characters
	KMSKey      string            // that encrypts the copy; "": as EC2 decides
	Tags        map[string]string // EC2 copies none of the original's
}

const (
	// copyFirstPoll and copyLastPoll are the delays between attempts while EC2 accepts no further copy:
	// another one has to be completed first, which takes minutes.
	copyFirstPoll = 2 * time.Second
	copyLastPoll  = 15 * time.Second
)

// CopySnapshot copies a snapshot of another region, or one that another account shares, to the
// client's region, and returns the id of the copy, which is pending. The tags are part of the same
// call.
//
// While EC2 accepts no further copy, or throttles, the call is repeated until ctx ends: at most 20
// copies to a region may be pending. (EBS user guide, "Copy an Amazon EBS snapshot") Otherwise it is
// made once: like CreateSnapshot it has no client token. After an error that wraps
// [ErrOutcomeUnknown] there may be a copy: search for it by its tags.
func (c *Client) CopySnapshot(ctx context.Context, s CopySpec) (id string, err error) {
	pause := c.newPollDelay("copy", copyFirstPoll, copyLastPoll)
	for {
		out, err := call(ctx, c, "CopySnapshot", s.SnapshotID, func(ctx context.Context) (*element, error) {
			form, err := c.copyForm(ctx, s)
			if err != nil {
				return nil, err
			}
			return c.sendEC2(ctx, "CopySnapshot", form, func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
		})
		switch {
		case err == nil:
			return out.value("snapshotId"), nil
		case !hadNoEffect(err):
			return "", fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		case !errors.Is(err, ErrThrottled) && !errors.Is(err, ErrCapacity):
			return "", err
		}
		if waitErr := pause.sleep(ctx); waitErr != nil {
			return "", fmt.Errorf("%w: %w: %w", ErrTemporary, err, waitErr)
		}
	}
}

// copyForm returns the parameters of CopySnapshot.
func (c *Client) copyForm(ctx context.Context, s CopySpec) (url.Values, error) {
	form := url.Values{"SourceRegion": {s.SourceRegion}, "SourceSnapshotId": {s.SnapshotID}}
	presigned, err := c.presignCopy(ctx, s.SourceRegion, form)
	form.Set("PresignedUrl", presigned)
	if s.Description != "" {
		form.Set("Description", s.Description)
	}
	if s.KMSKey != "" {
		form.Set("KmsKeyId", s.KMSKey)
		form.Set("Encrypted", "true")
	}
	form.Set("TagSpecification.1.ResourceType", "snapshot")
	tagForm(form, "TagSpecification.1.Tag.", s.Tags)
	return form, err
}

// emptyPayload is the SHA-256 of no data: a presigned request has no body.
const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// presignedSeconds is for how long a presigned URL is valid. EC2 uses it when the call arrives.
const presignedSeconds = "3600"

// presignCopy returns the URL of the same call to EC2 in the region of the original, presigned. With it
// the client's region reads the original. EC2 requires it for an encrypted snapshot; the SDKs send it
// always. If it can't be used, the copy ends in the state error. (CopySnapshot, API reference,
// "PresignedUrl")
func (c *Client) presignCopy(ctx context.Context, region string, form url.Values) (string, error) {
	o := c.ec2.Options()
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(ctx, ec2.EndpointParameters{
		Region: &region, Endpoint: o.BaseEndpoint,
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
	})
	if err != nil {
		return "", err
	}
	credentials, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	query := maps.Clone(form)
	query.Set("Action", "CopySnapshot")
	query.Set("Version", ec2Version)
	query.Set("DestinationRegion", c.cfg.Region)
	query.Set("X-Amz-Expires", presignedSeconds)
	target := endpoint.URI
	target.Path, target.RawQuery = "/", query.Encode()
	request := &http.Request{Method: http.MethodGet, URL: &target, Host: target.Host, Header: http.Header{}}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, request, emptyPayload, "ec2", region, time.Now())
	return signed, err
}
