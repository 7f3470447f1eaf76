// Package admission keeps a launch within EC2's rate limits, which all instances of an
// account share. A throttled launch first retries with jitter. Then it counts its cohort, the
// instances launched from its image at about the same time, and waits for a slot of its own:
// blind retries cost about 10·ln(N/n₀) throttled calls per launch.
package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"snapsource/ec2ops"
)

const (
	// firstBackoff doubles after each throttled call. The two retries before the cohort is
	// counted take at most 2 + 4 s. One throttled call costs 1 s on average; in a launch of a
	// thousand instances each one makes two more calls.
	firstBackoff, lastBackoff = 2 * time.Second, 64 * time.Second
	initialRetries            = 2

	cohortAge      = 50 * time.Minute // EC2 attaches 15,000 volumes meanwhile; later runs are usually reboots
	cohortSpan     = 10 * time.Minute // from the first launch of a cohort to this one, at most
	slowBoot       = 5 * time.Minute  // from a launch to its first run; a later run is a retry and keeps the slot
	lateAfter      = 8 * time.Second  // a missed slot's tokens are kept: AttachVolume's bucket fills in 10 s
	deadlineMargin = 30 * time.Second // a run whose slot is after its deadline retries this long before the deadline

	launchWindow = 15 * time.Second // in which the launches of one request begin
	utilization  = 0.96             // of the scarcest bucket; the rest is for calls without a slot

	sampleRatio = 10          // launches per listed one if only addresses ending in one digit are listed
	sampleFrom  = time.Minute // from then on a cohort is assumed to exceed a page
	rateLimits  = "EC2's rate limits"
)

// Cloud lists launches. *ec2ops.Client implements it.
type Cloud interface {
	Launches(ctx context.Context, image string, from, to time.Time, endings string) (list []ec2ops.Launch, whole bool, err error)
}

// Waiter is the step that waits.
type Waiter interface {
	Waiting(reason string)
	Pause(ctx context.Context, d time.Duration, what string) error
	Note(text string)
}

// Counts is the count of a cohort that the sources of a run share: the first that needs it counts.
type Counts struct {
	once     sync.Once
	launches []ec2ops.Launch
	weight   float64
	err      error
}

// Limiter is the state of the rate limits for one source of a run. With a nil Limiter only the
// client retries.
type Limiter struct {
	Cloud   Cloud
	Sources int     // of the run
	Counts  *Counts // of the run

	pace          *pace // nil: creating
	self          ec2ops.Identity
	start         time.Time // the first call
	cohort        cohort
	tokens        float64 // that each launch takes from the scarcest bucket; 0 before the cohort is counted
	tries         int     // throttled calls since the cohort was counted, before that since the start
	late          bool    // the slot was in the past when it was computed
	clientRetries bool    // the cohort is small or unknown
}

// Arrives says that the volume came with the launch, and whether the instance gets roles.
func (l *Limiter) Arrives(roles bool) {
	if l != nil && l.pace == nil {
		p := arriving(roles)
		l.pace = &p
	}
}

// Creates says that the launch creates its volume after all. The cohort is counted anew.
func (l *Limiter) Creates() {
	if l != nil && l.pace != nil {
		l.pace, l.tokens, l.tries, l.late, l.clientRetries, l.Counts = nil, 0, 0, false, false, &Counts{}
	}
}

func (l *Limiter) kind() pace {
	if l.pace == nil {
		return creating
	}
	return *l.pace
}

// First returns the context for calls that start before [Do] is called with their results.
func (l *Limiter) First(ctx context.Context, self ec2ops.Identity) context.Context {
	if l != nil && l.start.IsZero() {
		l.self, l.start = self, time.Now()
	}
	return l.context(ctx, "")
}

// context returns ctx if the client is to retry the call, else a context for a single request.
// In a slot the client retries Describe calls, whose buckets gain 20 a second.
func (l *Limiter) context(ctx context.Context, action string) context.Context {
	if l == nil || l.clientRetries || l.tokens > 0 && strings.HasPrefix(action, "Describe") {
		return ctx
	}
	return ec2ops.WithoutThrottleRetries(ctx)
}

// Do makes a call and retries it while EC2 throttles it: with jitter, then in this launch's
// slot, then with backoff. It returns the error of the last call.
func Do[T any](ctx context.Context, l *Limiter, w Waiter, action string, call func(context.Context) (T, error)) (T, error) {
	for n := 0; ; n++ {
		with := l.context(ctx, action)
		v, err := call(with)
		if !errors.Is(err, ec2ops.ErrThrottled) || ctx.Err() != nil || with == ctx && n > 0 {
			return v, err
		}
		if waitErr := l.wait(ctx, w, action); waitErr != nil {
			return v, fmt.Errorf("%w: %w", err, waitErr)
		}
	}
}

// wait waits after a throttled call until the next retry.
func (l *Limiter) wait(ctx context.Context, w Waiter, action string) error {
	if l.context(ctx, action) == ctx {
		return nil // the client retries from now on
	}
	l.tries++
	switch {
	case l.tokens == 0 && l.tries > initialRetries:
		return l.countAndWait(ctx, w)
	case l.tokens == 1 && !l.late: // if late, either rate limit may have throttled the call
		l.tokens = l.kind().shared
		return l.waitForSlot(ctx, w)
	}
	d := l.jitter(fmt.Sprint(action, l.tokens, l.tries), min(lastBackoff, firstBackoff<<min(l.tries-1, 10)))
	w.Waiting(fmt.Sprintf("EC2 throttles %s; retrying in %s", action, d.Round(100*time.Millisecond)))
	return w.Pause(ctx, d, rateLimits)
}

// countAndWait counts the cohort and waits for this launch's slot. Without an image id it
// counts nothing: launches of other images may make no calls and are no reason to wait.
func (l *Limiter) countAndWait(ctx context.Context, w Waiter) error {
	l.clientRetries = true
	if l.self.ImageID == "" || !l.self.PrivateIP.IsValid() || time.Since(l.self.Launched) > cohortAge {
		return nil
	}
	w.Waiting("EC2 throttles calls; counting the instances launched from " + l.self.ImageID)
	l.Counts.once.Do(func() { l.Counts.launches, l.Counts.weight, l.Counts.err = l.count(ctx, w) })
	launches, weight, err := l.Counts.launches, l.Counts.weight, l.Counts.err
	if err != nil {
		if ctx.Err() == nil {
			w.Note("EC2 throttles calls, and the number of instances being launched is unknown (" + err.Error() + "): retrying with random backoff")
		}
		return context.Cause(ctx)
	}
	l.cohort = cohortOf(l.kind(), ec2ops.Launch{ID: l.self.InstanceID, At: l.self.Launched}, launches, weight*float64(l.Sources))
	if l.clientRetries = l.cohort.size <= l.kind().withoutSlot; l.clientRetries {
		return nil
	}
	l.tokens, l.tries = 1, 0
	return l.waitForSlot(ctx, w)
}

// count lists the launches from the same image. Each one listed stands for weight launches.
func (l *Limiter) count(ctx context.Context, w Waiter) (list []ec2ops.Launch, weight float64, err error) {
	page := func(endings string) ([]ec2ops.Launch, bool, error) {
		return l.Cloud.Launches(ec2ops.WithoutThrottleRetries(ctx), l.self.ImageID, l.self.Launched.Add(-cohortSpan), time.Now(), endings)
	}
	address := l.self.PrivateIP.String()
	large := false // the cohort exceeds a page
	late := false
	for at := range l.kind().countTimes(l.jitter) {
		if at -= time.Since(l.start); at < 0 && late {
			continue // one call makes up for all times that have passed
		}
		late = late || at < 0
		if end, ok := ctx.Deadline(); ok && time.Until(end)-deadlineMargin < at {
			break
		}
		if err := w.Pause(ctx, at, rateLimits); err != nil {
			return nil, 0, err
		}
		weight = 1
		if large = large || time.Since(l.start) >= sampleFrom; !large {
			var whole bool
			list, whole, err = page("")
			large = err == nil && !whole
		}
		if large {
			weight = sampleRatio
			list, _, err = page(address[len(address)-1:])
		}
		if !errors.Is(err, ec2ops.ErrThrottled) {
			return list, weight, err
		}
	}
	return nil, 0, fmt.Errorf("DescribeInstances: %w", ec2ops.ErrThrottled)
}

// waitForSlot waits until this launch may go on. It assumes that all launches
// need the same time until their first call.
func (l *Limiter) waitForSlot(ctx context.Context, w Waiter) error {
	since := max(time.Since(l.start), time.Since(l.self.Launched)-slowBoot)
	d := l.cohort.slot(l.kind(), l.tokens, l.cohort.rank) - l.cohort.before - since
	// In a large cohort many count late. Half of those take the slots left unused.
	if l.late = d < 0; d < -lateAfter && l.cohort.size > 2*ec2ops.LaunchesMax && fraction(l.self.InstanceID, "late") < 0.5 {
		last := l.cohort.slot(l.kind(), l.tokens, l.cohort.size)
		d = last + l.jitter("behind", time.Duration(l.kind().behind*float64(last))) - l.cohort.before - since
	}
	reason := fmt.Sprintf("about %.0f instances are being launched; EC2's rate limits let this one %s in %s",
		l.cohort.size/float64(l.Sources), l.kind().goesOn, d.Round(time.Second))
	if end, ok := ctx.Deadline(); ok && d > time.Until(end)-deadlineMargin {
		reason += ", after its deadline"
		d = max(0, time.Until(end)-l.jitter("last chance", deadlineMargin))
	}
	if d > 0 {
		w.Waiting(reason)
	}
	return w.Pause(ctx, d, rateLimits)
}

// jitter returns a pseudo-random duration below limit, fixed for this instance and purpose.
func (l *Limiter) jitter(purpose string, limit time.Duration) time.Duration {
	return time.Duration(fraction(l.self.InstanceID, purpose) * float64(limit))
}
