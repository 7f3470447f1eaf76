package ec2test

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Latency is the durations of EC2's operations.
type Latency int

const (
	// None makes every transition immediate. An action's own response still says creating,
	// pending, attaching or detaching.
	None Latency = iota
	// Realistic has EC2's durations.
	Realistic
)

// ParseLatency reads "none" or "realistic".
func ParseLatency(s string) (Latency, error) {
	switch s {
	case "none":
		return None, nil
	case "realistic":
		return Realistic, nil
	}
	return None, fmt.Errorf("latency %q is neither none nor realistic", s)
}

// random draws durations and ids. It is safe for concurrent use.
type random struct {
	latency Latency
	seed    uint64
	times   uint64 // the seed of durations; 0: none of their own
	ids     *draws
	*durations

	mu      sync.Mutex
	streams map[string]*random
}

// durations are random numbers for durations.
type durations struct {
	calls, volumes, attachments, detachments, snapshots, removals, launches, restores *draws
}

// draws are random numbers for one purpose, independent of the draws for others.
type draws struct {
	mu   sync.Mutex
	rand *rand.Rand
}

// newRandom returns a random that is repeatable for a seed other than 0; for a times other
// than 0 only its durations are.
func newRandom(seed, times uint64, latency Latency) *random {
	if seed == 0 {
		seed = rand.Uint64()
	}
	c := &random{latency: latency, seed: seed, times: times, ids: &draws{rand: rand.New(rand.NewPCG(seed, seed))}, streams: map[string]*random{}}
	if times == 0 {
		times = seed
	}
	of := func(purpose uint64) *draws { return &draws{rand: rand.New(rand.NewPCG(times, purpose))} }
	c.durations = &durations{
		calls: of(1), volumes: of(2), attachments: of(3), detachments: of(4), snapshots: of(5), removals: of(6), launches: of(7),
		restores: of(8),
	}
	return c
}

// of returns the random of one caller's calls of one action: its draws do not depend on the
// order of callers. Durations with a seed of their own are the same for each caller.
func (c *random) of(caller, action string) *random {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := caller + "\x00" + action
	if c.streams[name] == nil {
		times := c.times
		if times != 0 {
			times = derived(times, action)
		}
		c.streams[name] = newRandom(derived(c.seed, name), times, c.latency)
	}
	return c.streams[name]
}

// derived returns a seed other than 0 for a name.
func derived(seed uint64, name string) uint64 {
	sum := fnv.New64a()
	_, _ = io.WriteString(sum, name) // a hash never fails
	return max(seed^sum.Sum64(), 1)
}

// hex returns n hexadecimal digits.
func (c *random) hex(n int) string {
	c.ids.mu.Lock()
	defer c.ids.mu.Unlock()
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[c.ids.rand.IntN(len(digits))]
	}
	return string(b)
}

// id returns a new resource id: 17 digits, the first of them 0, as in EC2's ids since 2016.
func (c *random) id(prefix string) string { return prefix + "-0" + c.hex(16) }

func (c *random) between(d *draws, least, most time.Duration) time.Duration {
	if c.latency == None {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return least + time.Duration(d.rand.Int64N(int64(most-least)+1))
}

// call is the duration of one API call. Callers inside the region commonly see 40–120 ms;
// there is no published figure.
func (c *random) call() time.Duration {
	return c.between(c.calls, 40*time.Millisecond, 120*time.Millisecond)
}

// create is the time from CreateVolume to available: median 1.5 s, p99 4 s, as
// the EBS CSI driver observed (pkg/cloud/cloud.go). Log-normal: 2.326 standard
// deviations lie between the median and p99.
func (c *random) create() time.Duration {
	if c.latency == None {
		return 0
	}
	c.volumes.mu.Lock()
	defer c.volumes.mu.Unlock()
	sigma := math.Log(4/1.5) / 2.326
	return time.Duration(1.5 * math.Exp(sigma*c.volumes.rand.NormFloat64()) * float64(time.Second))
}

// attach is the time from AttachVolume to attached. The EBS CSI driver: most
// finish within 1–4 s.
func (c *random) attach() time.Duration { return c.between(c.attachments, time.Second, 2*time.Second) }

// plugged is how long before that the kernel shows the device.
func (c *random) plugged() time.Duration {
	if c.latency == None {
		return 0
	}
	return 200 * time.Millisecond
}

// detach is the time from DetachVolume to available, as the EBS CSI driver
// observed for both.
func (c *random) detach() time.Duration { return c.between(c.detachments, time.Second, 3*time.Second) }

// snapshot is the time from CreateSnapshot to completed, for little data.
func (c *random) snapshot() time.Duration {
	return c.between(c.snapshots, 3*time.Second, 8*time.Second)
}

// remove is how long a deleted volume or terminated instance is still shown.
func (c *random) remove() time.Duration { return c.between(c.removals, time.Second, 5*time.Second) }

// launch is how long an instance that already runs user-data is still shown as pending, a
// state that boot agents encounter.
func (c *random) launch() time.Duration {
	return c.between(c.launches, 500*time.Millisecond, time.Second)
}

// enable is the time from EnableFastSnapshotRestores to optimizing, and from
// DisableFastSnapshotRestores to disabled. There is no published figure.
func (c *random) enable() time.Duration { return c.between(c.restores, time.Second, 3*time.Second) }

// optimize is how long a snapshot of size GiB is optimizing.
func (c *random) optimize(size int64) time.Duration {
	if c.latency == None {
		return 0
	}
	return time.Duration(size) * optimizingPerGiB
}

func percent(n int) string { return strconv.Itoa(n) + "%" }
