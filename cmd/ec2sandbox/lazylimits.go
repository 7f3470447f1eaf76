//go:build linux

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

const (
	// ioUnit is the size up to which a request is one I/O operation of an SSD volume. (EBS
	// user guide, "I/O characteristics")
	ioUnit = 256 << 10
	mib    = 1 << 20
	// burstTime is how much of a second's tokens a volume saves up while it is idle.
	burstTime = 250 * time.Millisecond
)

// bucket is a token bucket that is filled at a rate per second. A request may take more than
// there is and then waits: requests are served in their order, of any size.
type bucket struct {
	rate   float64
	tokens float64
	at     time.Time
}

// take takes n tokens and returns how long to wait for them.
func (b *bucket) take(n float64, now time.Time) time.Duration {
	b.fill(now)
	b.tokens -= n
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}

func (b *bucket) fill(now time.Time) {
	most := b.rate * burstTime.Seconds()
	if b.at.IsZero() {
		b.tokens = most
	} else {
		b.tokens = min(most, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
}

// set changes the rate from now on.
func (b *bucket) set(rate float64, now time.Time) {
	if b.rate > 0 {
		b.fill(now)
	}
	b.rate = rate
}

// volumeLimits are the throughput and the I/O operations per second of a volume.
type volumeLimits struct {
	latency time.Duration
	hurry   <-chan struct{} // closed: there are no limits any more

	mu         sync.Mutex
	operations bucket
	bytes      bucket
}

func newLimits(latency time.Duration, hurry <-chan struct{}) *volumeLimits {
	return &volumeLimits{latency: latency, hurry: hurry}
}

// set applies the settings of a volume.
func (l *volumeLimits) set(v *ec2test.Volume) {
	iops, throughput := performance(v)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.operations.set(float64(iops), now)
	l.bytes.set(float64(throughput)*mib, now)
}

// admit waits as long as a request of n bytes takes on a volume whose data are there.
func (l *volumeLimits) admit(ctx context.Context, n int) error {
	l.mu.Lock()
	now := time.Now()
	wait := max(l.operations.take(float64((n+ioUnit-1)/ioUnit), now), l.bytes.take(float64(n), now))
	l.mu.Unlock()
	if err := pass(ctx, l.hurry, wait); err != nil {
		return err
	}
	return l.nap(ctx)
}

// preciseNap is the duration up to which a request sleeps in the kernel: Go's timers are late by
// up to a millisecond, as long as nothing else happens (runtime, netpoll_epoll.go).
const preciseNap = 5 * time.Millisecond

// nap waits as long as each request takes.
func (l *volumeLimits) nap(ctx context.Context) error {
	select {
	case <-l.hurry:
		return nil
	default:
	}
	if l.latency == 0 || l.latency > preciseNap {
		return pass(ctx, l.hurry, l.latency)
	}
	left := unix.NsecToTimespec(int64(l.latency))
	for {
		if err := unix.Nanosleep(&left, &left); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// pass waits for a duration, or until it is in a hurry.
func pass(ctx context.Context, hurry <-chan struct{}, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hurry:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// performance returns a volume's I/O operations per second and its throughput in MiB/s. (EBS
// user guide, "Amazon EBS volume types")
func performance(v *ec2test.Volume) (iops, throughput int64) {
	iops, throughput = v.IOPS, v.Throughput
	switch v.Type {
	case "gp2": // with burst credits, which an instance's first half hour does not use up
		iops, throughput = max(3000, 3*v.Size), 250
		if v.Size <= 170 {
			throughput = 128
		}
	case "io1":
		throughput = min(1000, iops/4) // 256 KiB for each operation
	case "io2":
		throughput = min(4000, iops/4)
	case "st1":
		iops, throughput = 500, 500
	case "sc1":
		iops, throughput = 250, 250
	case "standard":
		iops, throughput = 200, 90
	}
	if iops == 0 {
		iops = 3000
	}
	if throughput == 0 {
		throughput = 125
	}
	return iops, throughput
}
