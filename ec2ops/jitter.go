package ec2ops

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// jitterSource draws the jitter of pauses. Each purpose has its own stream, so concurrent
// calls draw the same values in any order.
type jitterSource struct {
	mu      *sync.Mutex
	seed    uint64
	streams map[string]*rand.Rand
}

func newJitterSource(seed uint64) jitterSource {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return jitterSource{new(sync.Mutex), seed, map[string]*rand.Rand{}}
}

// jitter returns a random duration in [0, most).
func (c *Client) jitter(purpose string, most time.Duration) time.Duration {
	c.jitters.mu.Lock()
	defer c.jitters.mu.Unlock()
	stream := c.jitters.streams[purpose]
	if stream == nil {
		sum := fnv.New64a()
		_, _ = io.WriteString(sum, purpose) // a hash never fails
		stream = rand.New(rand.NewPCG(c.jitters.seed, sum.Sum64()))
		c.jitters.streams[purpose] = stream
	}
	return time.Duration(stream.Int64N(int64(max(most, 1))))
}
