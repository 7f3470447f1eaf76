package ec2ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Identity is the instance's identity document.
type Identity struct {
	InstanceID   string
	InstanceType string
	AccountID    string
	Region       string
	Zone         string // availability zone: "us-west-2c"
	Architecture string
	ImageID      string     // the machine image that it was launched from
	PrivateIP    netip.Addr // IPv4; zero if there is none
	Launched     time.Time  // or started after a stop; zero if unknown
}

// Identify reads the identity document from the instance metadata service, version 2 only,
// and sets the client's region to the instance's. waiting, when not nil, is called with the
// reason for each retry. A service that refuses for the time of [MetadataRefused], or for
// [Options.Patience], is [ErrNotEC2]; one that does not respond, or not before ctx ends, is
// [ErrTemporary].
func (c *Client) Identify(ctx context.Context, waiting func(reason string)) (Identity, error) {
	start := time.Now()
	id, err := c.identityWithin(ctx, waiting)
	c.reportMetadataCall(ctx, "InstanceIdentity", start, err)
	if err != nil {
		return Identity{}, err
	}
	c.onInstance = true
	// A volume must be created in the instance's region, whatever region the environment
	// has.
	if c.cfg.Region != id.Region {
		c.cfg.Region = id.Region
		c.newServiceClients()
	}
	return id, nil
}

// identityOf copies and checks an identity document.
func identityOf(doc imds.InstanceIdentityDocument) (Identity, error) {
	id := Identity{
		InstanceID:   doc.InstanceID,
		InstanceType: doc.InstanceType,
		AccountID:    doc.AccountID,
		Region:       doc.Region,
		Zone:         doc.AvailabilityZone,
		Architecture: doc.Architecture,
		ImageID:      doc.ImageID,
		Launched:     doc.PendingTime,
	}
	if id.InstanceID == "" || id.Region == "" || id.Zone == "" {
		return Identity{}, fmt.Errorf("%w: the identity document names no instance, region or zone", ErrNotEC2)
	}
	for _, v := range []string{id.InstanceID, id.InstanceType, id.AccountID, id.Region, id.Zone, id.Architecture, id.ImageID} {
		if v != "" && (len(v) > identityValueMax || !identityValue.MatchString(v)) {
			return Identity{}, fmt.Errorf("%w: the identity document has %q in it", ErrNotEC2, v)
		}
	}
	if ip, err := netip.ParseAddr(doc.PrivateIP); err == nil && ip.Is4() {
		id.PrivateIP = ip
	}
	return id, nil
}

// identityValue matches the values of an identity document. The region becomes part of a
// host name; the others go into tags, filters and tables.
var identityValue = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// identityValueMax is the longest such value, in bytes.
const identityValueMax = 64

// identityWithin is identity with the client's patience. A service that responds with a 5xx
// is an instance's, so that the usual time applies.
func (c *Client) identityWithin(ctx context.Context, waiting func(string)) (Identity, error) {
	if c.patience <= 0 {
		return c.identity(ctx, waiting)
	}
	short, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	id, err := c.identity(short, waiting)
	if err == nil || ctx.Err() != nil || short.Err() == nil {
		return id, err
	}
	answer, _ := errors.AsType[*metadataError](err)
	switch {
	case answer != nil && answer.status >= http.StatusInternalServerError:
		return c.identity(ctx, waiting)
	case answer != nil && answer.status != 0:
		return id, fmt.Errorf("%w: what responds at %s is not EC2's, or it is off for this instance: %w", ErrNotEC2, c.metadataURL(), answer)
	}
	return id, fmt.Errorf("%w: no EC2 instance metadata service responds at %s: this is not an EC2 instance, or metadata is off", ErrNotEC2, c.metadataURL())
}

// metadataURL is where the client finds the metadata service.
func (c *Client) metadataURL() string {
	return cmp.Or(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "http://169.254.169.254")
}

func (c *Client) identity(ctx context.Context, waiting func(string)) (Identity, error) {
	var docErr error // why the document is invalid
	refusalFor := func(status int) *Refusal {
		if docErr != nil {
			return MetadataRefused
		}
		return refusedByMetadata(status)
	}
	explain := func(r *Refusal, status int, reason string) error {
		if docErr != nil {
			return docErr
		}
		return notEC2(r, status, reason)
	}
	return pollMetadata(ctx, c, waiting, refusalFor, explain, func(ctx context.Context, service *imds.Client) (Identity, error) {
		docErr = nil
		out, err := service.GetInstanceIdentityDocument(ctx, nil)
		if err != nil {
			return Identity{}, err
		}
		id, err := identityOf(out.InstanceIdentityDocument)
		docErr = err
		return id, err
	})
}

// notEC2 returns the error for a metadata service that has not provided an identity
// document. 403: it is disabled for this instance. 404 or 405 to a token request: it
// supports version 1 only. (EC2 user guide, "How Instance Metadata Service Version 2
// works")
func notEC2(r *Refusal, status int, reason string) error {
	why := ""
	switch status {
	case http.StatusForbidden:
		why = "the metadata service is off for this instance (403)"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		why = fmt.Sprintf("the metadata service gives no token or no identity document, so it is not version 2 (%d)", status)
	case http.StatusBadRequest, http.StatusUnauthorized:
		why = fmt.Sprintf("the metadata service refuses our token (%d)", status)
	default:
		return fmt.Errorf("%w: the instance metadata service does not answer within %s: %s", r.Then, r.Within, reason)
	}
	return fmt.Errorf("%w: %s, for %s", r.Then, why, r.Within)
}
