package ec2ops_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// TestPatience: who types a command on a machine that is no instance does not wait for the
// metadata service as a boot does. An instance's service that is overloaded is waited for.
func TestPatience(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	const patience = 3 * time.Second
	for fault, tc := range map[string]struct {
		kind error
		says string
		took time.Duration // at least
	}{
		"refuse=metadata":              {ec2ops.ErrNotEC2, "no EC2 instance metadata service responds at http", patience},
		"hang=metadata":                {ec2ops.ErrNotEC2, "this is not an EC2 instance", patience},
		"status=metadata:404":          {ec2ops.ErrNotEC2, "not EC2's, or it is off for this instance: its response is 404", patience},
		"status=metadata-token:403":    {ec2ops.ErrNotEC2, "its response is 403", patience},
		"status=metadata:503":          {ec2ops.ErrTemporary, "does not answer within 30s", ec2ops.NoMetadata.Within},
		"status=metadata-token@5s:503": {nil, "", patience},
		"status=metadata-token@1s:401": {nil, "", 0},
	} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := ec2test.NewInMemory(t, ec2test.Options{Seed: 1})
				host := fake.Launch("web-1")
				c, err := ec2ops.New(t.Context(), ec2ops.Options{Dial: host.Dial, Seed: 1, Patience: patience})
				if err != nil {
					t.Fatal(err)
				}
				f, err := ec2test.ParseFault(fault)
				if err != nil {
					t.Fatal(err)
				}
				fake.Server.SetFaults(f)
				began := time.Now()
				_, err = c.Identify(t.Context(), nil)
				took := time.Since(began)
				if tc.kind == nil && err != nil || tc.kind != nil && (!errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says)) {
					t.Errorf("got %v, want %v and %q", err, tc.kind, tc.says)
				}
				if took < tc.took || errors.Is(err, ec2ops.ErrNotEC2) && took > patience {
					t.Errorf("took %s, want %s", took, tc.took)
				}
			})
		})
	}
}

// TestExpiredToken: outside an instance only a new login helps, so the call is not retried.
func TestExpiredToken(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	for _, onInstance := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			_, c := inMemory(t, "error=DescribeSnapshots@5s:ExpiredToken")
			if onInstance {
				if _, err := c.Identify(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			_, err := c.Snapshots(t.Context(), "app")
			if onInstance && err != nil || !onInstance && (!errors.Is(err, ec2ops.ErrCredentials) || time.Since(began) > time.Second) {
				t.Errorf("on an instance: %v: %v after %s", onInstance, err, time.Since(began))
			}
		})
	}
}
