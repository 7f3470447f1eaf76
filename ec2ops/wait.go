package ec2ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// pollDelay is a delay that grows up to a limit. Each is jittered by a fifth, so that
// instances launched together do not poll together.
type pollDelay struct {
	next, limit time.Duration
	growth      int // in percent
	jitter      func(time.Duration) time.Duration
}

// defaultGrowth is the growth of each delay over the one before, in percent.
const defaultGrowth = 30

// newPollDelay returns a delay that starts at first; purpose selects its jitter stream.
func (c *Client) newPollDelay(purpose string, first, limit time.Duration) *pollDelay {
	return &pollDelay{first, limit, defaultGrowth, func(most time.Duration) time.Duration { return c.jitter(purpose, most) }}
}

// sleep waits for the next delay, or until ctx ends; then it returns the cause.
func (p *pollDelay) sleep(ctx context.Context) error {
	defer startPause(ctx)()
	d := p.next - p.next/5 + p.jitter(2*p.next/5+1)
	p.next = min(p.next*time.Duration(100+p.growth)/100, p.limit)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// PollSchedule is a poll schedule.
type PollSchedule struct {
	First  time.Duration // before the first poll
	Next   time.Duration // between the first two polls; grows from there
	Growth int           // of the delay, in percent; 0 means 30
	// Seen: EC2 has shown the volume to this run before.
	Seen bool
	// FirstOfMany and NextOfMany replace First and Next after EC2 has throttled this
	// client: with many callers, each has to poll less.
	FirstOfMany, NextOfMany time.Duration
	// Unseen is how long an id that EC2 has never shown may be not found; 0 means
	// [NeverShown].Within.
	Unseen time.Duration
}

// pollSchedule returns the delay before the first poll of a volume, and the delays between
// polls.
func (c *Client) pollSchedule(pace PollSchedule) (first time.Duration, between *pollDelay) {
	if c.Throttled() {
		return pace.FirstOfMany, c.newPollDelay("volume", pace.NextOfMany, lastPoll)
	}
	between = c.newPollDelay("volume", pace.Next, lastPoll)
	if pace.Growth != 0 {
		between.growth = pace.Growth
	}
	return pace.First, between
}

var (
	// PollCreated is for a volume that was just created. It is available after 1.5 s
	// (median) to 4 s (99th percentile), measured by the EBS CSI driver. This schedule sees
	// that 0.13 s late (median of 300 launches, TestPace), with three polls (median); one
	// call takes more than half of the 0.13 s. With 0.08 s between polls, from 1.25 s on,
	// the last of fifty concurrent launches was later.
	PollCreated = PollSchedule{
		First: 1200 * time.Millisecond, Next: 100 * time.Millisecond, Growth: 5,
		FirstOfMany: 3 * time.Second, NextOfMany: time.Second,
	}
	// PollAttached is for an attachment whose device the kernel already shows: EC2 will
	// soon report it as attached.
	PollAttached = PollSchedule{First: 150 * time.Millisecond, Next: 150 * time.Millisecond, FirstOfMany: 400 * time.Millisecond, NextOfMany: 400 * time.Millisecond}
	// PollAny is for a condition that may hold already or may take long.
	PollAny = PollSchedule{Next: firstPoll, NextOfMany: time.Second}
	// PollShown is PollAny for a volume that EC2 has shown before.
	PollShown = PollSchedule{Next: firstPoll, NextOfMany: time.Second, Seen: true}
)

const (
	// firstPoll and lastPoll are the delays between polls of a volume. A volume takes 1.5 s
	// (median) to 4 s (99th percentile) from created to available, an attachment mostly 1
	// to 4 s (measured by the EBS CSI driver); the SDK's own waiter would sleep 15 s after
	// the first poll.
	firstPoll = 400 * time.Millisecond
	lastPoll  = 3 * time.Second
)

// notSeen is the reported state of a volume or snapshot that EC2 has not shown yet.
const notSeen = "not seen yet"

// WaitVolume polls a volume until done returns true or an error. seen, when not nil, is
// called with every polled volume. An id that EC2 has never shown may be not found for
// pace.Unseen; then the error is [ErrNotShown]. One that EC2 has shown may be not found for
// [Unknown].Within; then it is [ErrNotFound]. When ctx ends, the error includes the last
// state of the volume.
func (c *Client) WaitVolume(ctx context.Context, id string, pace PollSchedule, done func(Volume) (bool, error), seen func(Volume)) (Volume, error) {
	first, pause := c.pollSchedule(pace)
	unseen := cmp.Or(pace.Unseen, NeverShown.Within)
	unknownUntil, last := time.Now().Add(unseen), notSeen
	if pace.Seen {
		unknownUntil, last = time.Now().Add(Unknown.Within), "seen before"
	}
	outOfTime := func(err error) error {
		return fmt.Errorf("wait for %s (%s): %w: %w", id, last, ErrTemporary, err)
	}
	if err := c.newPollDelay("volume", first, first).sleep(ctx); err != nil {
		return Volume{}, outOfTime(err)
	}
	for {
		v, err := c.Volume(ctx, id)
		switch {
		case err == nil:
			unknownUntil = time.Now().Add(Unknown.Within)
			last = v.String()
			if seen != nil {
				seen(v)
			}
			ok, err := done(v)
			if ok || err != nil {
				return v, err
			}
		case errors.Is(err, ErrNotFound) && time.Now().Before(unknownUntil):
		case errors.Is(err, ErrNotFound) && last == notSeen:
			return Volume{}, fmt.Errorf("%w: EC2 has given the id %s, but does not find it within %s", ErrNotShown, id, unseen)
		case ctx.Err() != nil:
			return Volume{}, fmt.Errorf("wait for %s (%s): %w", id, last, err)
		default:
			return Volume{}, err
		}
		if c.Throttled() {
			pause.next = max(pause.next, pace.NextOfMany)
		}
		if err := pause.sleep(ctx); err != nil {
			return Volume{}, outOfTime(err)
		}
	}
}

// retryNotFound retries a call about a resource that exists, while EC2 does not find it,
// for [Unknown].Within.
func (c *Client) retryNotFound(ctx context.Context, do func() error) error {
	pause := c.newPollDelay("known", firstPoll, lastPoll)
	for until := time.Now().Add(Unknown.Within); ; {
		err := do()
		if !errors.Is(err, ErrNotFound) || !time.Now().Before(until) {
			return err
		}
		if sleepErr := pause.sleep(ctx); sleepErr != nil {
			return fmt.Errorf("%w: %w", err, sleepErr)
		}
	}
}

type pausesKey struct{}

// WithPauses returns a context that reports pauses: those between polls, and those before a
// call is repeated. The SDK's pauses between attempts belong to the call and are reported
// by [Options.OnCall]. told runs on the goroutine that paused.
func WithPauses(ctx context.Context, told func(start time.Time, took time.Duration)) context.Context {
	return context.WithValue(ctx, pausesKey{}, told)
}

// startPause starts a pause; the returned function ends and reports it.
func startPause(ctx context.Context) (over func()) {
	told, ok := ctx.Value(pausesKey{}).(func(time.Time, time.Duration))
	if !ok {
		return func() {}
	}
	start := time.Now()
	return func() { told(start, time.Since(start)) }
}
