package ec2ops

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Identity is who the instance is, by its identity document.
type Identity struct {
	InstanceID   string
	InstanceType string
	AccountID    string
	Region       string
	Zone         string // availability zone: "us-west-2c"
	Architecture string
	ImageID      string     // the machine image that it was launched from
	PrivateIP    netip.Addr // IPv4; zero where there is none
	Launched     time.Time  // or started after a stop; zero where it is not told
}

// Identify asks the instance metadata service, version 2 only, who this instance
// is, and sets the client's region to the instance's. waiting, when not nil, is
// told why it takes longer. A service that refuses for good is [ErrNotEC2], see
// [MetadataRefused]; one that does not answer, or not before ctx ends, is [ErrTemporary].
func (c *Client) Identify(ctx context.Context, waiting func(reason string)) (Identity, error) {
	start := time.Now()
	id, err := c.identity(ctx, waiting)
	c.toldMetadata("InstanceIdentity", start, err)
	if err != nil {
		return Identity{}, err
	}
	c.onInstance = true
	// A volume can only be made where the instance is, whatever the environment
	// says about regions.
	if c.cfg.Region != id.Region {
		c.cfg.Region = id.Region
		c.connect()
	}
	return id, nil
}

// identityOf takes from an identity document what we need, and refuses one that no
// EC2 has written.
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
		if v != "" && (len(v) > wordLength || !word.MatchString(v)) {
			return Identity{}, fmt.Errorf("%w: the identity document has %q in it", ErrNotEC2, v)
		}
	}
	if ip, err := netip.ParseAddr(doc.PrivateIP); err == nil && ip.Is4() {
		id.PrivateIP = ip
	}
	return id, nil
}

// word is what all of an identity is made of. The region becomes part of a host
// name, the rest goes into tags, filters and tables.
var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// wordLength is the longest of them, in bytes.
const wordLength = 64

func (c *Client) identity(ctx context.Context, waiting func(string)) (Identity, error) {
	var unfit error // what is wrong with the document
	refusalFor := func(status int) *Refusal {
		if unfit != nil {
			return MetadataRefused
		}
		return refusedByMetadata(status)
	}
	explain := func(r *Refusal, status int, reason string) error {
		if unfit != nil {
			return unfit
		}
		return notEC2(r, status, reason)
	}
	return metadataUntil(ctx, c, waiting, refusalFor, explain, func(ctx context.Context, service *imds.Client) (Identity, error) {
		unfit = nil
		out, err := service.GetInstanceIdentityDocument(ctx, nil)
		if err != nil {
			return Identity{}, err
		}
		id, err := identityOf(out.InstanceIdentityDocument)
		unfit = err
		return id, err
	})
}

// notEC2 is the error for a metadata service that has not told who the instance is.
// 403: it is off for this instance. 404 or 405 to a token request: a service that knows
// version 1 only. (EC2 user guide, "How Instance Metadata Service Version 2 works")
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
