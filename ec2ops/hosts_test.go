package ec2ops_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// workstation returns a client as someone has it outside of EC2: a region and keys,
// and no metadata service.
func workstation(t *testing.T, endpoint string) *ec2ops.Client {
	t.Helper()
	useEnv(t, []string{
		"AWS_ENDPOINT_URL_EC2=" + endpoint, "AWS_REGION=us-west-2", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=AKIA0123456789EXAMPL", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PROFILE=",
	})
	c, err := ec2ops.New(t.Context(), ec2ops.Options{UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHosts: filters hold at EC2, and * and ? in a literal are characters.
func TestHosts(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	starred := fake.LaunchWith("starred", ec2test.LaunchOptions{Tags: ec2test.Tags{"Project": `a*b?\`}})
	other := fake.LaunchWith("other", ec2test.LaunchOptions{Tags: ec2test.Tags{"Project": `axxb?\`}})
	gone := fake.LaunchWith("gone", ec2test.LaunchOptions{Tags: ec2test.Tags{"Project": "gone"}})
	if err := fake.Server.Terminate(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	c := workstation(t, fake.EC2URL)
	running := ec2ops.Filter{Name: "instance-state-name", Value: ec2ops.InstanceRunning}
	for name, tc := range map[string]struct {
		filters []ec2ops.Filter
		want    []string
	}{
		"none":     {nil, []string{starred.ID, other.ID, gone.ID}},
		"running":  {[]ec2ops.Filter{running}, []string{starred.ID, other.ID}},
		"literal":  {[]ec2ops.Filter{{Name: "tag:Project", Value: ec2ops.Literal(`a*b?\`)}}, []string{starred.ID}},
		"wildcard": {[]ec2ops.Filter{{Name: "tag:Project", Value: "a*b?*"}, running}, []string{starred.ID, other.ID}},
	} {
		t.Run(name, func(t *testing.T) {
			hosts, err := c.Hosts(t.Context(), tc.filters)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range hosts {
				got = append(got, h.ID)
			}
			slices.Sort(got)
			slices.Sort(tc.want)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
	if _, err := c.Hosts(t.Context(), []ec2ops.Filter{{Name: "colour", Value: "red"}}); !errors.Is(err, ec2ops.ErrInvalid) {
		t.Errorf("an unknown filter: got %v, want that EC2 refuses it", err)
	}
}

// instancePage is an answer of EC2's with one instance; the fake has no public
// addresses.
const instancePage = `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet><item>
<instanceId>%s</instanceId><instanceState><code>16</code><name>running</name></instanceState>
<privateIpAddress>10.0.0.7</privateIpAddress><privateDnsName>ip-10-0-0-7.ec2.internal</privateDnsName>
<dnsName>ec2-198-51-100-7.compute.amazonaws.com</dnsName><ipAddress>198.51.100.7</ipAddress>
<launchTime>2026-11-24T01:02:03.000Z</launchTime><tagSet><item><key>Roles</key><value>app</value></item></tagSet>
</item></instancesSet></item></reservationSet>%s</DescribeInstancesResponse>`

// TestHostsReadsEveryPage: and all that EC2 says of an instance.
func TestHostsReadsEveryPage(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		switch r.Form.Get("NextToken") {
		case "":
			fmt.Fprintf(w, instancePage, "i-1", "<nextToken>two</nextToken>")
		case "two":
			fmt.Fprintf(w, instancePage, "i-2", "")
		}
	}))
	defer endpoint.Close()
	got, err := workstation(t, endpoint.URL).Hosts(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := ec2ops.Host{
		ID: "i-1", State: "running", PrivateIP: "10.0.0.7", PrivateDNS: "ip-10-0-0-7.ec2.internal",
		PublicDNS: "ec2-198-51-100-7.compute.amazonaws.com", PublicIP: "198.51.100.7",
		Launched: time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC), Tags: map[string]string{"Roles": "app"},
	}
	second := first
	second.ID = "i-2"
	if want := []ec2ops.Host{first, second}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestHostsWithoutCredentials: the error says so, also when the deadline ends the search
// for credentials.
func TestHostsWithoutCredentials(t *testing.T) {
	// What answers nothing, in place of a metadata service that is not there.
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	defer silent.CloseClientConnections()
	for name, env := range map[string][]string{
		"off":    {"AWS_EC2_METADATA_DISABLED=true"},
		"silent": {"AWS_EC2_METADATA_DISABLED=", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + silent.URL},
	} {
		t.Run(name, func(t *testing.T) {
			useEnv(t, append(env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_PROFILE=", "AWS_REGION=us-west-2",
				"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"))
			c, err := ec2ops.New(t.Context(), ec2ops.Options{UserAgent: "test"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := c.Hosts(ctx, nil); !errors.Is(err, ec2ops.ErrNoCredentials) {
				t.Errorf("got %v, want no credentials", err)
			}
		})
	}
}
