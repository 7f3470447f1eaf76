package ec2ops

import (
	"errors"
	"strings"
	"testing"
)

// What an identity document says becomes part of a host name, and of tags and
// tables: only what EC2 writes is taken.
func TestIdentityCheck(t *testing.T) {
	good := Identity{InstanceID: "i-0123456789abcdef0", InstanceType: "u-6tb1.112xlarge", AccountID: "123456789012", Region: "us-gov-west-1", Zone: "us-west-2-lax-1a", Architecture: "x86_64"}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	fields := map[string]func(*Identity) *string{
		"instance": func(id *Identity) *string { return &id.InstanceID },
		"type":     func(id *Identity) *string { return &id.InstanceType },
		"account":  func(id *Identity) *string { return &id.AccountID },
		"region":   func(id *Identity) *string { return &id.Region },
		"zone":     func(id *Identity) *string { return &id.Zone },
	}
	for name, field := range fields {
		for _, bad := range []string{"-f", "..", "../../x", "a/b", "us-west-2@example.org", "a\nb", "a\x00b", "\xff", "\x1b[2J", "a b", "*", strings.Repeat("a", 300)} {
			id := good
			*field(&id) = bad
			if err := id.check(); !errors.Is(err, ErrNotEC2) {
				t.Errorf("%s %q: %v", name, bad, err)
			}
		}
	}
}
