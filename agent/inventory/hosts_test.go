package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// hostWith gives a running instance with an address of its own and these tags.
func hostWith(id string, tags ...string) ec2ops.Host {
	h := ec2ops.Host{ID: id, State: "running", PrivateIP: "ip-of-" + id, Launched: time.Unix(1000, 0), Tags: map[string]string{}}
	for _, t := range tags {
		k, v, _ := strings.Cut(t, "=")
		h.Tags[k] = v
	}
	return h
}

// TestServersAddresses: what is neither an IP address nor a host name is no target.
func TestServersAddresses(t *testing.T) {
	query := DefaultServerQuery()
	query.Roles = []string{"app"}
	for address, fine := range map[string]bool{
		"10.0.0.1": true, "fd00::1": true, "ip-10-0-0-1.us-west-2.compute.internal": true, "WEB-1": true, "i-0123456789abcdef0": true, "1web": true,
		"10.0.0.1\n10.0.0.2": false, "-oProxyCommand=reboot": false, "web-": false, "a b": false, "a..b": false, "a.": false, ".a": false, "fe80::1%eth0": false,
		"web\x1b[2J": false, "web,db": false, "user@web": false, "web:22": false, "wéb": false, "\u212a": false, "$(reboot)": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "a": false, strings.Repeat("a.", 126) + "a": true,
	} {
		h := hostWith("i-1", "Roles=app")
		h.PrivateIP, h.PublicIP = address, "192.0.2.1"
		servers, leftOut := query.match([]ec2ops.Host{h})
		if listed := len(servers) == 1 && servers[0].Address == address; listed != fine || !fine && (len(leftOut) != 1 || !leftOut[0].Lost) {
			t.Errorf("%q: %+v, left out %+v", address, servers, leftOut)
		}
	}
}

// TestServersMatch: which tags make an instance a target.
func TestServersMatch(t *testing.T) {
	query := DefaultServerQuery()
	query.Roles, query.Stage = []string{"app"}, "production"
	anyStage, either, otherTags := query, query, query
	anyStage.Stage = ""
	either.Roles = []string{"db", "app"}
	otherTags.RolesTag, otherTags.StagesTag = "does", "where"
	for name, tc := range map[string]struct {
		query ServerQuery
		tags  string
		why   string // "" for a match
	}{
		"one of each":         {query, "Roles=app;Stages=production", ""},
		"in lists":            {query, "Roles=web,app,db;Stages=staging,production", ""},
		"spaces and commas":   {query, "Roles= web ,, app ;Stages= production,", ""},
		"no tags":             {query, "", "no role"},
		"empty lists":         {query, "Roles= , ;Stages=production", "no role"},
		"other roles":         {query, "Roles=web, application;Stages=production", "other role: web,application"},
		"case counts":         {query, "Roles=App;Stages=production", "other role: App"},
		"other stage":         {query, "Roles=app;Stages=staging", "other stage: staging"},
		"no stage":            {query, "Roles=app", "no stage"},
		"role in other tag":   {query, "Stages=app,production", "no role"},
		"any stage":           {anyStage, "Roles=app", ""},
		"first of two roles":  {either, "Roles=db;Stages=production", ""},
		"second of two roles": {either, "Roles=app;Stages=production", ""},
		"neither of two":      {either, "Roles=web;Stages=production", "other role: web"},
		"other keys":          {otherTags, "does=app;where=production", ""},
		"not the usual keys":  {otherTags, "Roles=app;Stages=production", "no role"},
	} {
		t.Run(name, func(t *testing.T) {
			servers, leftOut := tc.query.match([]ec2ops.Host{hostWith("i-1", strings.Split(tc.tags, ";")...)})
			why := ""
			if len(leftOut) > 0 {
				why = leftOut[0].Reason
			}
			if why != tc.why || len(servers)+len(leftOut) != 1 {
				t.Errorf("got %v, left out %v; want left out for %q", servers, leftOut, tc.why)
			}
		})
	}
}

// TestServersAddress: the wanted kind, else the next that is there.
func TestServersAddress(t *testing.T) {
	all := ec2ops.Host{ID: "i-1", State: "running", PrivateIP: "10.0.0.1", PrivateDNS: "private", PublicDNS: "public", PublicIP: "198.51.100.1"}
	internal, external := all, all
	internal.PublicDNS, internal.PublicIP = "", ""
	external.PrivateIP, external.PrivateDNS = "", ""
	none := ec2ops.Host{ID: "i-1", State: "running"}
	for _, tc := range []struct {
		wanted                              Address
		fromAll, fromInternal, fromExternal string
	}{
		{PrivateIP, "10.0.0.1", "10.0.0.1", "public"},
		{PrivateDNS, "private", "private", "public"},
		{PublicDNS, "public", "10.0.0.1", "public"},
		{PublicIP, "198.51.100.1", "10.0.0.1", "198.51.100.1"},
		{InstanceID, "i-1", "i-1", "i-1"},
	} {
		t.Run(string(tc.wanted), func(t *testing.T) {
			query := DefaultServerQuery()
			query.Roles, query.Address = []string{"app"}, tc.wanted
			for want, h := range map[string]ec2ops.Host{tc.fromAll: all, tc.fromInternal: internal, tc.fromExternal: external} {
				h.Tags = map[string]string{"Roles": "app"}
				servers, leftOut := query.match([]ec2ops.Host{h})
				if len(servers) != 1 || servers[0].Address != want || len(leftOut) != 0 {
					t.Errorf("got %+v, left out %v; want %s", servers, leftOut, want)
				}
			}
			none.Tags = map[string]string{"Roles": "app"}
			servers, leftOut := query.match([]ec2ops.Host{none})
			if lost := tc.wanted != InstanceID; lost != (len(leftOut) == 1 && leftOut[0].Lost && len(servers) == 0) {
				t.Errorf("without any address: got %+v, left out %+v", servers, leftOut)
			}
		})
	}
}

// TestServersOrder: by launch time, then id; no address twice; what does not run is
// left out.
func TestServersOrder(t *testing.T) {
	hosts := []ec2ops.Host{
		hostWith("i-4", "Roles=app"), hostWith("i-2", "Roles=app"), hostWith("i-3", "Roles=app", "Name=web-3"),
		hostWith("i-5", "Roles=app"), hostWith("i-1", "Roles=app"), hostWith("i-6", "Roles=web"),
	}
	hosts[0].Launched = time.Unix(1, 0)
	hosts[2].PrivateIP = "ip-of-i-1" // of another network
	hosts[3].State = "stopped"
	hosts[5].PrivateIP = "ip-of-i-2" // no target, so it takes no address
	query := DefaultServerQuery()
	query.Roles = []string{"app"}
	for range len(hosts) {
		hosts = append(hosts[1:], hosts[0])
		servers, leftOut := query.match(slices.Clone(hosts))
		var got []string
		for _, s := range servers {
			got = append(got, s.Address)
		}
		if want := []string{"ip-of-i-4", "ip-of-i-1", "ip-of-i-2"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		want := []LeftOut{
			{"i-3", "web-3", "its address ip-of-i-1 is also that of i-1", true},
			{"i-5", "", "not running: stopped", false},
			{"i-6", "", "other role: web", false},
		}
		if !slices.Equal(leftOut, want) {
			t.Errorf("left out %+v\nwant %+v", leftOut, want)
		}
	}
}

// region is AWS as [Servers] sees it; it remembers the filters.
type region struct {
	name  string
	hosts []ec2ops.Host
	asked []ec2ops.Filter
	calls int
}

func (r *region) Region() string { return r.name }

func (r *region) Hosts(_ context.Context, filters []ec2ops.Filter) ([]ec2ops.Host, error) {
	r.asked = filters
	r.calls++
	return r.hosts, nil
}

// TestServersFilters: EC2 is asked for what it can decide exactly.
func TestServersFilters(t *testing.T) {
	query := DefaultServerQuery()
	query.Roles, query.Project, query.Filters = []string{"app"}, "pens*", []ec2ops.Filter{{Name: "tag:Team", Value: "w*"}}
	for notRunning, want := range map[bool]string{
		false: `[{tag:Team w*} {instance-state-name running} {tag:Project pens\*}]`,
		true:  `[{tag:Team w*} {tag:Project pens\*}]`,
	} {
		query.NotRunning = notRunning
		aws := &region{name: "us-west-2"}
		if _, _, err := Servers(t.Context(), aws, query); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(aws.asked); got != want {
			t.Errorf("not running %v: asked for %s, want %s", notRunning, got, want)
		}
	}
}

// TestServersRefuses: bad queries are usage errors, and EC2 is not asked.
func TestServersRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*ServerQuery)
		region string
		says   string
	}{
		"no role":       {func(q *ServerQuery) { q.Roles = nil }, "us-west-2", "--role app"},
		"empty role":    {func(q *ServerQuery) { q.Roles = []string{"app", ""} }, "us-west-2", `"" is not one role`},
		"list of roles": {func(q *ServerQuery) { q.Roles = []string{"app,web"} }, "us-west-2", `"app,web" is not one role`},
		"stages":        {func(q *ServerQuery) { q.Stage = "a,b" }, "us-west-2", `"a,b" is not one stage`},
		"address":       {func(q *ServerQuery) { q.Address = "ip" }, "us-west-2", `"ip" is none of`},
		"tag":           {func(q *ServerQuery) { q.RolesTag = "" }, "us-west-2", "--roles-tag"},
		"filter":        {func(q *ServerQuery) { q.Filters = []ec2ops.Filter{{Name: "tag:Team"}} }, "us-west-2", "NAME=VALUE"},
		"timeout":       {func(q *ServerQuery) { q.Timeout = 0 }, "us-west-2", "--timeout"},
		"no region":     {func(*ServerQuery) {}, "", "AWS_REGION"},
	} {
		t.Run(name, func(t *testing.T) {
			query := DefaultServerQuery()
			query.Roles = []string{"app"}
			tc.change(&query)
			aws := &region{name: tc.region}
			_, _, err := Servers(t.Context(), aws, query)
			if !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), tc.says) || aws.calls != 0 {
				t.Errorf("got %v and %d calls, want a usage error with %q and none", err, aws.calls, tc.says)
			}
		})
	}
}
