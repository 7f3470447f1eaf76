package ec2ops

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// What an identity document says becomes part of a host name, and of tags and
// tables: only what EC2 writes is taken.
func TestIdentityOf(t *testing.T) {
	good := imds.InstanceIdentityDocument{InstanceID: "i-0123456789abcdef0", InstanceType: "u-6tb1.112xlarge", AccountID: "123456789012",
		Region: "us-gov-west-1", AvailabilityZone: "us-west-2-lax-1a", Architecture: "x86_64"}
	if _, err := identityOf(good); err != nil {
		t.Error(err)
	}
	fields := map[string]func(*imds.InstanceIdentityDocument) *string{
		"instance": func(d *imds.InstanceIdentityDocument) *string { return &d.InstanceID },
		"type":     func(d *imds.InstanceIdentityDocument) *string { return &d.InstanceType },
		"account":  func(d *imds.InstanceIdentityDocument) *string { return &d.AccountID },
		"region":   func(d *imds.InstanceIdentityDocument) *string { return &d.Region },
		"image":    func(d *imds.InstanceIdentityDocument) *string { return &d.ImageID },
		"zone":     func(d *imds.InstanceIdentityDocument) *string { return &d.AvailabilityZone },
	}
	for name, field := range fields {
		for _, bad := range []string{"-f", "..", "../../x", "a/b", "us-west-2@example.org", "a\nb", "a\x00b", "\xff", "\x1b[2J", "a b", "*", strings.Repeat("a", 300)} {
			doc := good
			*field(&doc) = bad
			if id, err := identityOf(doc); !errors.Is(err, ErrNotEC2) || id != (Identity{}) {
				t.Errorf("%s %q: %+v, %v", name, bad, id, err)
			}
		}
	}
}

// FuzzIdentity: of whatever the metadata service answers, what is taken is whole and
// can't lead a call to another host.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"instanceId":"i-0123456789abcdef0","instanceType":"m5.large","accountId":"123456789012","region":"us-west-2","availabilityZone":"us-west-2c","architecture":"x86_64"}`))
	f.Add([]byte(`{"instanceId":"i-1","region":"x@example.org/","availabilityZone":"a"}`))
	f.Add([]byte(`{"instanceId":"../..","region":"us-west-2","availabilityZone":"-z"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, document []byte) {
		var doc imds.InstanceIdentityDocument
		if json.Unmarshal(document, &doc) != nil {
			return
		}
		id, err := identityOf(doc)
		if err != nil {
			if id != (Identity{}) || !errors.Is(err, ErrNotEC2) {
				t.Fatalf("%+v, %v", id, err)
			}
			return
		}
		host := "ec2." + id.Region + ".amazonaws.com"
		u, err := url.Parse("https://" + host + "/")
		if err != nil || u.Host != host || u.User != nil || u.Path != "/" || u.Port() != "" {
			t.Fatalf("region %q: %v, %v", id.Region, u, err)
		}
		for _, v := range []string{id.InstanceID, id.Region, id.Zone} {
			if v == "" || v[0] == '-' || v[0] == '.' || strings.ContainsAny(v, "/\\*?\x00\n ,=") {
				t.Fatalf("%q is taken", v)
			}
		}
	})
}
