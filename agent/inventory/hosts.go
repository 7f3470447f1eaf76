// Package inventory lists the running instances by role, for a deploy tool.
package inventory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// Address is a kind of address by which a deployment reaches an instance.
type Address string

// The kinds of addresses.
const (
	PrivateIP  Address = "private-ip"
	PrivateDNS Address = "private-dns"
	PublicDNS  Address = "public-dns"
	PublicIP   Address = "public-ip"
	InstanceID Address = "instance-id"
)

// fallbacks are the kinds to try for a requested one, in this order: first the same network
// (private or public), then the other. Every instance has an id, but only some tools can use
// it, so it is no fallback.
var fallbacks = map[Address][]Address{
	PrivateIP:  {PrivateIP, PrivateDNS, PublicDNS, PublicIP},
	PrivateDNS: {PrivateDNS, PrivateIP, PublicDNS, PublicIP},
	PublicDNS:  {PublicDNS, PublicIP, PrivateIP, PrivateDNS},
	PublicIP:   {PublicIP, PublicDNS, PrivateIP, PrivateDNS},
	InstanceID: {InstanceID},
}

// Addresses lists the kinds of addresses.
func Addresses() []string {
	return []string{string(PrivateIP), string(PrivateDNS), string(PublicDNS), string(PublicIP), string(InstanceID)}
}

// ServerQuery selects the targets of a deployment by their tags: comma-separated lists in
// RolesTag and StagesTag, one value in ProjectTag.
type ServerQuery struct {
	Roles   []string // with any of these; at least one
	AnyRole bool     // with any role at all, if Roles is empty
	Stage   string   // and this one; "" for any
	Project string   // and this one; "" for any
	Filters []ec2ops.Filter
	Address Address
	// NotRunning also reports instances that are not running as left out.
	NotRunning                      bool
	RolesTag, StagesTag, ProjectTag string
	Timeout                         time.Duration
}

// DefaultServerQuery returns a query without roles.
func DefaultServerQuery() ServerQuery {
	tags := config.DefaultConfig().Roles
	return ServerQuery{
		Address: PrivateIP, Timeout: 30 * time.Second,
		RolesTag: tags.RolesTag, StagesTag: tags.StagesTag, ProjectTag: tags.ProjectTag,
	}
}

// String describes the query: "role app, stage production".
func (q ServerQuery) String() string {
	words := []string{"role " + strings.Join(q.Roles, " or ")}
	if q.AnyRole {
		words[0] = "a role"
	}
	if q.Stage != "" {
		words = append(words, "stage "+q.Stage)
	}
	if q.Project != "" {
		words = append(words, "project "+q.Project)
	}
	for _, f := range q.Filters {
		words = append(words, f.Name+"="+f.Value)
	}
	return strings.Join(words, ", ")
}

func (q ServerQuery) validate() error {
	if len(q.Roles) == 0 && !q.AnyRole {
		return config.Usagef("--role is required, for example --role app")
	}
	for key, list := range map[string][]string{"role": q.Roles, "stage": {q.Stage}} {
		for _, v := range list {
			if v == "" && key == "role" || strings.TrimSpace(v) != v || strings.Contains(v, ",") {
				return config.Usagef("--%s: %q is not one %s", key, v, key)
			}
		}
	}
	if _, known := fallbacks[q.Address]; !known {
		return config.Usagef("--address: %q is none of %s", q.Address, strings.Join(Addresses(), ", "))
	}
	for flag, key := range map[string]string{"roles-tag": q.RolesTag, "stages-tag": q.StagesTag, "project-tag": q.ProjectTag} {
		if key == "" {
			return config.Usagef("--%s: a tag's key is not empty", flag)
		}
	}
	for _, f := range q.Filters {
		if f.Name == "" || f.Value == "" {
			return config.Usagef("--filter: %q is not NAME=VALUE", f.Name+"="+f.Value)
		}
	}
	if q.Timeout <= 0 {
		return config.Usagef("--timeout: %s is not a positive duration", q.Timeout)
	}
	return nil
}

// filters returns the filters that EC2 can apply exactly. It has none for one item of a list in
// a tag.
func (q ServerQuery) filters() []ec2ops.Filter {
	filters := slices.Clone(q.Filters)
	if !q.NotRunning {
		filters = append(filters, ec2ops.Filter{Name: "instance-state-name", Value: ec2ops.InstanceRunning})
	}
	if q.Project != "" {
		filters = append(filters, ec2ops.Filter{Name: "tag:" + q.ProjectTag, Value: ec2ops.Literal(q.Project)})
	}
	return filters
}

// Server is a target of a deployment.
type Server struct {
	ID        string             `json:"instance"`
	Name      string             `json:"name,omitempty"`
	Address   string             `json:"address"` // of the requested kind, or a fallback
	Addresses map[Address]string `json:"addresses"`
	Roles     []string           `json:"roles"`
	Stages    []string           `json:"stages"`
	Project   string             `json:"project,omitempty"`
	Launched  time.Time          `json:"launched"`
}

// LeftOut is an instance that is not a target, and why.
type LeftOut struct {
	ID, Name, Reason string
	// Lost: it matches, but has no valid address of its own.
	Lost bool
}

// Instances is what [Servers] needs of AWS. *ec2ops.Client implements it.
type Instances interface {
	Region() string
	Hosts(ctx context.Context, filters []ec2ops.Filter) ([]ec2ops.Host, error)
}

// Servers lists the running instances that match, oldest first, and those that it left out.
// The addresses are IP addresses or host names, without duplicates.
func Servers(ctx context.Context, cloud Instances, q ServerQuery) ([]Server, []LeftOut, error) {
	if err := q.validate(); err != nil {
		return nil, nil, err
	}
	if cloud.Region() == "" {
		return nil, nil, config.Usagef("no AWS region is configured: set AWS_REGION, or region in ~/.aws/config")
	}
	ctx, cancel := failure.WithDeadline(ctx, q.Timeout)
	defer cancel()
	hosts, err := cloud.Hosts(ctx, q.filters())
	if err != nil {
		return nil, nil, err
	}
	servers, leftOut := q.match(hosts)
	return servers, leftOut, nil
}

// match splits the instances into those that match and those that do not.
func (q ServerQuery) match(hosts []ec2ops.Host) (servers []Server, leftOut []LeftOut) {
	sort.SliceStable(hosts, func(i, j int) bool {
		a, b := hosts[i], hosts[j]
		return cmp.Or(a.Launched.Compare(b.Launched), cmp.Compare(a.ID, b.ID)) < 0
	})
	owner := map[string]string{} // of an address: the instance's id
	for _, h := range hosts {
		out := LeftOut{ID: h.ID, Name: h.Tags[ec2ops.TagName], Reason: q.whyNot(h)}
		if out.Reason == "" {
			s := q.server(h)
			switch other, taken := owner[s.Address]; {
			case s.Address == "":
				out.Reason, out.Lost = "it has no address", true
			case !isAddress(s.Address):
				out.Reason, out.Lost = fmt.Sprintf("its address %q is neither an IP address nor a host name", s.Address), true
			case taken:
				out.Reason, out.Lost = fmt.Sprintf("its address %s is also that of %s", s.Address, other), true
			default:
				owner[s.Address] = h.ID
				servers = append(servers, s)
				continue
			}
		}
		leftOut = append(leftOut, out)
	}
	return servers, leftOut
}

// whyNot says why an instance does not match; "" if it does.
func (q ServerQuery) whyNot(h ec2ops.Host) string {
	missing := func(what, tag string, wanted []string) string {
		have := config.SplitList(h.Tags[tag])
		switch {
		case slices.ContainsFunc(wanted, func(v string) bool { return slices.Contains(have, v) }):
			return ""
		case len(have) == 0:
			return "no " + what
		}
		return "other " + what + ": " + strings.Join(have, ",")
	}
	if h.State != ec2ops.InstanceRunning {
		return "not running: " + cmp.Or(h.State, "state unknown")
	}
	wanted := q.Roles
	if q.AnyRole {
		wanted = config.SplitList(h.Tags[q.RolesTag])
	}
	why := missing("role", q.RolesTag, wanted)
	if why == "" && q.Stage != "" {
		why = missing("stage", q.StagesTag, []string{q.Stage})
	}
	return why
}

// server returns what a deploy tool needs of an instance.
func (q ServerQuery) server(h ec2ops.Host) Server {
	s := Server{
		ID: h.ID, Name: h.Tags[ec2ops.TagName], Launched: h.Launched.UTC(), Addresses: map[Address]string{},
		Roles: config.SplitList(h.Tags[q.RolesTag]), Stages: config.SplitList(h.Tags[q.StagesTag]), Project: h.Tags[q.ProjectTag],
	}
	if s.Stages == nil {
		s.Stages = []string{} // a list in JSON, and not null
	}
	for kind, a := range map[Address]string{
		PrivateIP: h.PrivateIP, PrivateDNS: h.PrivateDNS, PublicDNS: h.PublicDNS, PublicIP: h.PublicIP, InstanceID: h.ID,
	} {
		if a != "" {
			s.Addresses[kind] = a
		}
	}
	for _, kind := range fallbacks[q.Address] {
		if a := s.Addresses[kind]; a != "" {
			s.Address = a
			break
		}
	}
	// A deploy tool must not get a flag or a command as an address.
	maps.DeleteFunc(s.Addresses, func(_ Address, a string) bool { return !isAddress(a) })
	return s
}

// isAddress reports whether text is an IP address without a zone, or a host name by RFC 1123.
// Deploy tools pass it as an argument, so it must not be anything else, such as a flag.
func isAddress(text string) bool {
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.Zone() == ""
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return len(text) <= 253
}

// NoServers returns the error for a query that no instance matches. It wraps
// [failure.ErrTemporary].
func NoServers(q ServerQuery, region string) error {
	advice := "check the role, the stage and the region; --explain lists the instances that do not match, and why"
	if q.NotRunning {
		advice = "check the role, the stage and the region"
	}
	return failure.Advise(failure.New(failure.ErrTemporary, fmt.Sprintf("no running instance in %s has %s", region, q)), advice)
}
