// Package agenttest simulates EC2 and its instances in memory, for tests of the whole program:
// the real agent and the real AWS client call an ec2test.Server by HTTP, on instances with a
// simulated kernel. In a testing/synctest bubble no wait takes real time.
//
//	synctest.Test(t, func(t *testing.T) {
//		cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
//		cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
//		web := cloud.Start("web-1")
//		report, err := web.Agent().Up(t.Context(), agent.DefaultConfig())
//		…
//	})
//
// Only tests import it.
package agenttest

import (
	"context"
	"os"
	"strings"
	"testing"

	"snapsource/ec2ops/ec2test"
)

// Cloud is EC2 with the data of its volumes and snapshots.
type Cloud struct {
	*ec2test.Fake
	// Disks may be read and changed by tests.
	Disks *Disks

	t testing.TB
}

// New returns a cloud with its own disks; it ignores opts.Disks. It sets the environment by
// [UseEnv].
func New(t testing.TB, opts ec2test.Options) *Cloud {
	t.Helper()
	UseEnv(t)
	disks := newDisks()
	opts.Disks = disks
	c := &Cloud{Fake: ec2test.NewInMemory(t, opts), Disks: disks, t: t}
	disks.server = c.Server
	return c
}

// UseEnv sets the environment so that the AWS SDK finds only the cloud in memory, until the test
// ends. A parallel test can't set it, so the parent of parallel tests calls UseEnv.
func UseEnv(t testing.TB) {
	t.Helper()
	want := map[string]string{}
	for _, setting := range os.Environ() {
		if key, _, _ := strings.Cut(setting, "="); strings.HasPrefix(key, "AWS_") {
			want[key] = "" // as if it were not set
		}
	}
	for _, setting := range ec2test.MemoryEnv(ec2test.DefaultRegion) {
		key, value, _ := strings.Cut(setting, "=")
		want[key] = value
	}
	for key, value := range want {
		if os.Getenv(key) != value {
			t.Setenv(key, value)
		}
	}
}

// Start launches an instance.
func (c *Cloud) Start(name string) *Machine {
	c.t.Helper()
	return c.machine(c.Launch(name))
}

// StartFrom launches an instance from a launch template, "NAME" or "NAME:VERSION". The volumes of
// the template's block device mapping, and those of its image, are attached from the launch on.
func (c *Cloud) StartFrom(template, name string) *Machine {
	c.t.Helper()
	return c.machine(c.LaunchWith(name, ec2test.LaunchOptions{Template: template}))
}

// Join returns an instance that a group has launched, from its launch template if it has one.
func (c *Cloud) Join(name string) *Machine {
	c.t.Helper()
	return c.machine(c.Fake.Join(name))
}

func (c *Cloud) machine(h *ec2test.Host) *Machine {
	m := &Machine{Host: h, cloud: c}
	m.boot()
	return m
}

// volume returns the current state of a volume in the control plane.
func (c *Cloud) volume(id string) (ec2test.Volume, bool) {
	v, found, err := c.Server.Volume(context.Background(), id)
	if err != nil {
		c.t.Error(err)
	}
	return v, found
}
