package ec2ops

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// InstanceRunning is the state of an instance that a deployment can reach.
const InstanceRunning = string(types.InstanceStateNameRunning)

// Host is an instance, for a deploy tool. An address that the instance does not have is "".
type Host struct {
	ID         string
	State      string // pending, running, …
	PrivateIP  string
	PrivateDNS string
	PublicDNS  string
	PublicIP   string
	Launched   time.Time
	Tags       map[string]string
}

// Filter is one of DescribeInstances' filters. In the value * and ? are wildcards;
// [Literal] escapes them.
type Filter struct {
	Name  string // "tag:Team", "vpc-id"
	Value string
}

// Literal returns the filter value that matches exactly this text. (EC2 user guide, "List
// and filter your resources")
func Literal(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(text)
}

// Hosts lists the instances in the client's region that match all filters, in no order. It
// needs AWS credentials and a [Client.Region], but no metadata service.
func (c *Client) Hosts(ctx context.Context, filters []Filter) ([]Host, error) {
	if err := c.haveCredentials(ctx); err != nil {
		return nil, err
	}
	var matching []types.Filter
	var with []string
	for _, f := range filters {
		matching = append(matching, filter(f.Name, f.Value))
		with = append(with, f.Name+"="+f.Value)
	}
	form := filterForm(matching)
	form.Set("MaxResults", "1000") // the most that EC2 accepts (DescribeInstances, API reference)
	found, err := c.describeInstances(ctx, "with "+strings.Join(with, " "), form)
	if err != nil {
		return nil, err
	}
	var all []Host
	for _, i := range found {
		all = append(all, hostOf(i))
	}
	return all, nil
}

// haveCredentials waits for credentials. When the deadline comes first, the error is
// [ErrNoCredentials] too: outside EC2 the last credential source is a metadata service that
// never responds.
func (c *Client) haveCredentials(ctx context.Context) error {
	pause := c.newPollDelay("credentials", firstPoll, refusalBackoff)
	for asking := (RefusalTimer{}); ; {
		_, err := c.cfg.Credentials.Retrieve(ctx)
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		refusal := c.refusalOf(err)
		if refusal == nil || asking.Lasting(refusal) || pause.sleep(ctx) != nil {
			return &APIError{
				Action: "ec2:DescribeInstances", Kind: ErrNoCredentials,
				Message: "no AWS credentials: " + innermost(err), Err: err,
			}
		}
	}
}

func hostOf(i *element) Host {
	return Host{
		ID:         i.value("instanceId"),
		State:      i.value("instanceState", "name"),
		PrivateIP:  i.value("privateIpAddress"),
		PrivateDNS: i.value("privateDnsName"),
		PublicDNS:  i.value("dnsName"),
		PublicIP:   i.value("ipAddress"),
		Launched:   i.time("launchTime"),
		Tags:       i.tags(),
	}
}
