package ec2ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// pauses grows a pause up to a limit, each jittered by a fifth so that instances
// launched together do not poll together.
type pollDelay struct {
	next, limit time.Duration
	growth      int // in percent
	jitter      func(time.Duration) time.Duration
}

// defaultGrowth is by how many percent a pause is longer than the one before.
const defaultGrowth = 30

// newPollDelay begins pauses; what names what for.
func (c *Client) newPollDelay(what string, first, limit time.Duration) *pollDelay {
	return &pollDelay{first, limit, defaultGrowth, func(most time.Duration) time.Duration { return c.jitter(what, most) }}
}

// sleep waits for the next pause, or until ctx ends and then gives its error.
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

// Pace is when something is looked at until it is as wanted.
type Pace struct {
	First  time.Duration // before the first look
	Next   time.Duration // between the first two; grows from there
	Growth int           // by so many percent; 0: by 30
	// Seen: EC2 has shown the volume to this run before.
	Seen bool
	// The same for a client that has been refused calls for their rate: many are
	// waiting, and one look each has to do.
	FirstOfMany, NextOfMany time.Duration
	// Unseen is how long an id that was never shown may stay unknown; 0: as [NeverShown]
	// has it.
	Unseen time.Duration
}

// looks gives the pause before the first look at a volume, and those between looks.
func (c *Client) pollSchedule(pace Pace) (first time.Duration, between *pollDelay) {
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
	// PaceCreated is for a volume that was just asked for. It takes 1.5 s (median) to
	// 4 s (99th percentile) until it is available (measured by the EBS CSI driver).
	// These looks find it 0.13 s late (median of 300 launches, TestPace), of which one call
	// takes more than half, with three looks (median). With 0.08 s between them, from 1.25 s on, the
	// last of fifty launches at once was later.
	PaceCreated = Pace{
		First: 1200 * time.Millisecond, Next: 100 * time.Millisecond, Growth: 5,
		FirstOfMany: 3 * time.Second, NextOfMany: time.Second,
	}
	// PaceAttached is for an attachment whose device the kernel shows already, so that
	// EC2 will say attached soon.
	PaceAttached = Pace{First: 150 * time.Millisecond, Next: 150 * time.Millisecond, FirstOfMany: 400 * time.Millisecond, NextOfMany: 400 * time.Millisecond}
	// PaceAny is for what may be as wanted already, or may take long.
	PaceAny = Pace{Next: firstPoll, NextOfMany: time.Second}
	// PaceSeen is PaceAny for a volume that EC2 has shown before.
	PaceSeen = Pace{Next: firstPoll, NextOfMany: time.Second, Seen: true}
)

const (
	// firstPoll and lastPoll are the pauses between two looks at a volume. A
	// volume takes 1.5 s (median) to 4 s (99th percentile) from created to
	// available, an attachment mostly 1 to 4 s (measured by the EBS CSI driver);
	// the SDK's own waiter would sleep 15 s after the first look.
	firstPoll = 400 * time.Millisecond
	lastPoll  = 3 * time.Second
)

// notSeen is the state of what EC2 has not shown yet.
const notSeen = "not seen yet"

// WaitVolume looks at a volume until done says so or gives an error. seen, when
// not nil, is told of every look. An id that EC2 does not know yet is given time, and
// after that is [ErrNotShown]. One that was seen and has been unknown for as long as
// [Unknown] has it is [ErrNotFound]. When ctx ends, the error tells in what state the
// volume was last.
func (c *Client) WaitVolume(ctx context.Context, id string, pace Pace, done func(Volume) (bool, error), seen func(Volume)) (Volume, error) {
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

// known makes a call about what exists for sure, and makes it again while EC2 does not
// know it, for as long as [Unknown] has it.
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

// WithPauses gives a context whose user's pauses are told: what passes between two looks
// at something, or before a call is made once more. The calls themselves, with the SDK's
// pauses between the attempts at one, are told to [Options.OnCall]. told is called from
// whichever goroutine has paused.
func WithPauses(ctx context.Context, told func(start time.Time, took time.Duration)) context.Context {
	return context.WithValue(ctx, pausesKey{}, told)
}

// pausing begins a pause; the function it returns ends it.
func startPause(ctx context.Context) (over func()) {
	told, ok := ctx.Value(pausesKey{}).(func(time.Time, time.Duration))
	if !ok {
		return func() {}
	}
	start := time.Now()
	return func() { told(start, time.Since(start)) }
}
