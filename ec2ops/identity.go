package ec2ops

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
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
	PrivateIP    netip.Addr // IPv4; zero where there is none
	Launched     time.Time  // or started after a stop; zero where it is not told
}

// IMDSPatience is how long [Client.Identify] goes on asking when nothing answers.
// Early in boot the network may not be up; cloud-init allows 240 s, but it has the
// network wait for nothing else, and our unit starts after network-online.
const IMDSPatience = 30 * time.Second

// Identify asks the instance metadata service, version 2 only, who this instance
// is, and sets the client's region to the instance's. waiting, when not nil, is
// told why it takes longer. Errors wrap [ErrNotEC2].
func (c *Client) Identify(ctx context.Context, waiting func(reason string)) (Identity, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, IMDSPatience,
		fmt.Errorf("no answer within %s", IMDSPatience))
	defer cancel()
	start := time.Now()
	doc, err := c.identityDocument(ctx, waiting)
	c.toldMetadata("InstanceIdentity", start, err)
	if err != nil {
		return Identity{}, err
	}
	id, err := identityOf(doc)
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
		Launched:     doc.PendingTime,
	}
	if id.InstanceID == "" || id.Region == "" || id.Zone == "" {
		return Identity{}, fmt.Errorf("%w: the identity document names no instance, region or zone", ErrNotEC2)
	}
	for _, v := range []string{id.InstanceID, id.InstanceType, id.AccountID, id.Region, id.Zone, id.Architecture} {
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

func (c *Client) identityDocument(ctx context.Context, waiting func(string)) (imds.InstanceIdentityDocument, error) {
	pause := c.backoffFrom("identity", 100*time.Millisecond, 2*time.Second)
	reason := "no answer yet"
	for {
		out, err := c.imds.GetInstanceIdentityDocument(ctx, nil)
		if err == nil {
			return out.InstanceIdentityDocument, nil
		}
		if final := c.refusedByIMDS(err); final != nil {
			return imds.InstanceIdentityDocument{}, final
		}
		if ctx.Err() == nil {
			reason = innermost(err)
			if _, cause, sent := strings.Cut(reason, "request send failed, "); sent {
				reason = cause // the SDK's own words before it tell a person nothing
			}
			if waiting != nil {
				waiting("the instance metadata service: " + reason)
			}
		}
		if sleepErr := pause.sleep(ctx); sleepErr != nil {
			return imds.InstanceIdentityDocument{}, fmt.Errorf("%w: %s (%w)", ErrNotEC2, reason, sleepErr)
		}
	}
}

// refusedByIMDS tells the answers that waiting does not change. 403: metadata is
// off for this instance. 404 or 405 to a token request: a service that knows
// version 1 only. (EC2 user guide, "How Instance Metadata Service Version 2 works")
func (c *Client) refusedByIMDS(err error) error {
	if strings.Contains(err.Error(), "AWS_EC2_METADATA_DISABLED") {
		return fmt.Errorf("%w: AWS_EC2_METADATA_DISABLED is set", ErrNotEC2)
	}
	switch status := c.metadata.last.Load(); status {
	case http.StatusForbidden:
		return fmt.Errorf("%w: the metadata service is off for this instance (403)", ErrNotEC2)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: the metadata service gives no token, so it is not version 2 (%d)", ErrNotEC2, status)
	case http.StatusBadRequest, http.StatusUnauthorized:
		return fmt.Errorf("%w: the metadata service refuses our token (%d)", ErrNotEC2, status)
	}
	return nil
}
