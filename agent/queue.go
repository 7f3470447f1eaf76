package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

const (
	// lately is how long after its launch an instance may belong to a crowd of
	// launches: EC2 serves 15,000 in this time.
	lately = 50 * time.Minute
	// crowdWithin is how long before it the first of its crowd may have been launched.
	crowdWithin = 10 * time.Minute

	// sampled is how many launches one that is counted in a sample stands for.
	sampled = 10
	// sampleFrom is the window from which on a sample is counted first: who gets there
	// has been refused so often that one page would not hold all.
	sampleFrom = 2

	// firstRefused and lastRefused bound the pause after a refusal in one's own turn.
	firstRefused = 4 * time.Second
	lastRefused  = 64 * time.Second

	// lastChance is how long before its deadline a run tries at the earliest, whose turn
	// is later.
	lastChance = 30 * time.Second

	// slowBoot is the longest time from a launch to its first run. A run that begins
	// later is not the first, whose turn it keeps.
	slowBoot = 5 * time.Minute

	// itsTurn is what a launch waits for.
	itsTurn = "EC2's limits"
)

// queue is where a run stands among the launches of its account. Its sources share it.
type queue struct {
	sources  int
	begun    time.Time // the first call
	asked    bool      // the crowd has been counted, or can't be
	crowd    crowd     // of size 0: unknown
	about    string    // "about " if it is estimated
	limits   limits
	late     bool
	refusals int // in its turn
}

// firstCalls gives the context of a run's first calls, which are what shows that there is
// a crowd.
func (l *launch) firstCalls(ctx context.Context) context.Context {
	if l.queue == nil {
		return ctx
	}
	if l.queue.begun.IsZero() {
		l.queue.begun = time.Now()
	}
	return ec2ops.Once(ctx)
}

// inTurn gives what a call has given, made with [ec2ops.Once]. If EC2 refused it for its
// rate, it is made again when this launch's turn comes.
func inTurn[T any](ctx context.Context, l *launch, s *report.Running, v T, err error, again func(context.Context) (T, error)) (T, error) {
	if !errors.Is(err, ec2ops.ErrThrottled) {
		return v, err
	}
	if waitErr := l.queueUp(ctx, s); waitErr != nil {
		return v, fmt.Errorf("%w: %w", err, waitErr)
	}
	return again(ctx)
}

// createInTurn has EC2 make the volume, as soon as its limits allow.
func (l *launch) createInTurn(ctx context.Context, s *report.Running, spec ec2ops.VolumeSpec) (ec2ops.Volume, error) {
	for {
		v, err := l.cloud.Volumes.CreateVolume(ec2ops.Once(ctx), spec)
		if !errors.Is(err, ec2ops.ErrThrottled) {
			return v, err
		}
		wait := l.queueAgain
		if !l.queue.asked {
			wait = l.queueUp
		}
		if waitErr := wait(ctx, s); waitErr != nil {
			return v, fmt.Errorf("%w: %w", err, waitErr)
		}
		if l.queue.crowd.size == 0 {
			return l.cloud.Volumes.CreateVolume(ctx, spec)
		}
	}
}

// queueUp counts the crowd, once in a run, and waits for this launch's turn.
func (l *launch) queueUp(ctx context.Context, s *report.Running) error {
	q := l.queue
	if q == nil || q.asked {
		return nil
	}
	q.asked = true
	if l.Self.Launched.IsZero() || time.Since(l.Self.Launched) > lately || !l.Self.PrivateIP.IsValid() {
		return nil // those who are only rebooted create nothing
	}
	c, err := l.count(ctx, s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		l.Note("EC2 refuses calls, and how many instances are being launched is not known (" + failure.Line(err) + "): trying again at random")
		return nil
	}
	q.crowd = c
	return l.waitTurn(ctx, s)
}

// queueAgain waits after a refusal in one's turn. Turns are such that EC2 refuses hardly
// any, if it has a limit for each action; so it has not, and there is a turn in a queue by
// the other limits that it may have. After that it is a moment.
func (l *launch) queueAgain(ctx context.Context, s *report.Running) error {
	q := l.queue
	q.refusals++
	if q.limits == perAction && !q.late {
		q.limits = shared
		return l.waitTurn(ctx, s)
	}
	s.Waiting("EC2 refuses CreateVolume: too many calls")
	limit := lastRefused
	if q.refusals < 5 {
		limit = firstRefused << (q.refusals - 1)
	}
	return l.Pause(ctx, share(lot(l.Self.InstanceID, fmt.Sprint("refused ", q.refusals)), limit), itsTurn)
}

// waitTurn waits until this launch may create its volume.
func (l *launch) waitTurn(ctx context.Context, s *report.Running) error {
	q := l.queue
	now := time.Now()
	begun := q.begun
	if first := l.Self.Launched.Add(slowBoot); begun.After(first) {
		begun = first
	}
	p := placeIn(q.crowd, q.limits, l.Self.InstanceID, begun, now)
	q.late = p.late
	wait := p.at.Sub(now)
	if wait <= 0 {
		return nil
	}
	told := fmt.Sprintf("%s%.0f instances are being launched; EC2's limits let this one create its volume in %s",
		q.about, q.crowd.size/float64(q.sources), wait.Round(time.Second))
	if end, ok := ctx.Deadline(); ok && p.at.After(end.Add(-lastChance)) {
		told += ", when its time is over"
		wait = max(0, end.Sub(now)-share(lot(l.Self.InstanceID, "last chance"), lastChance))
	}
	s.Waiting(told)
	return l.Pause(ctx, wait, itsTurn)
}

// count finds out how many launches there are; when it asks depends on how often EC2 has
// refused to tell.
func (l *launch) count(ctx context.Context, s *report.Running) (crowd, error) {
	q := l.queue
	s.Waiting("EC2 refuses calls: too many at the same time")
	many := false // more than fit a page
	for n := 0; ; n++ {
		at, ok := countAt(n, lot(l.Self.InstanceID, order))
		at = max(0, at-time.Since(q.begun))
		if end, has := ctx.Deadline(); !ok || has && time.Until(end) < at {
			return crowd{}, fmt.Errorf("DescribeInstances: %w", ec2ops.ErrThrottled)
		}
		if err := l.Pause(ctx, at, itsTurn); err != nil {
			return crowd{}, err
		}
		var err error
		if !many && n < sampleFrom {
			launches, whole, listErr := l.launches(ctx, "")
			if listErr == nil && whole {
				return l.crowdOf(launches, 1), nil
			}
			many, err = listErr == nil, listErr
		}
		if many || n >= sampleFrom {
			address := l.Self.PrivateIP.String()
			launches, _, listErr := l.launches(ctx, address[len(address)-1:])
			if listErr == nil {
				q.about = "about "
				return l.crowdOf(launches, sampled), nil
			}
			err = listErr
		}
		if !errors.Is(err, ec2ops.ErrThrottled) {
			return crowd{}, err
		}
	}
}

func (l *launch) launches(ctx context.Context, endings string) ([]ec2ops.Launch, bool, error) {
	return l.cloud.Launches.Launches(ec2ops.Once(ctx), l.Self.Launched.Add(-crowdWithin), time.Now(), endings)
}

func (l *launch) crowdOf(launches []ec2ops.Launch, each float64) crowd {
	return crowdOf(ec2ops.Launch{ID: l.Self.InstanceID, At: l.Self.Launched}, launches, each*float64(l.queue.sources))
}
