package admission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops"
)

var epoch = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)

// launchesAt makes launches at seconds after an epoch, n at each.
func launchesAt(n int, seconds ...int) (all []ec2ops.Launch) {
	for _, s := range seconds {
		for range n {
			all = append(all, ec2ops.Launch{ID: fmt.Sprintf("i-%04d", len(all)), At: epoch.Add(time.Duration(s) * time.Second)})
		}
	}
	return all
}

// TestCohortOf: a cohort is the launches that EC2 has not had the time to serve.
func TestCohortOf(t *testing.T) {
	for name, tc := range map[string]struct {
		launches []ec2ops.Launch
		self     int
		weight   float64
		want     cohort // its rank is the least of it
	}{
		"alone":                   {launchesAt(1, 0), 0, 1, cohort{1, 0, 0}},
		"two sources":             {launchesAt(1, 0), 0, 2, cohort{2, 0, 0}},
		"not listed yet":          {nil, -1, 1, cohort{1, 0, 0}},
		"the last, not listed":    {launchesAt(100, 0), -1, 1, cohort{101, 0, 0}},
		"a sample":                {launchesAt(300, 0), 7, 10, cohort{3000, 0, 0}},
		"the second half":         {launchesAt(500, 0, 30), 700, 1, cohort{1000, 500, 30 * time.Second}},
		"the first half":          {launchesAt(500, 0, 30), 200, 1, cohort{1000, 0, 0}},
		"served long ago":         {launchesAt(200, 0, 60), 300, 1, cohort{200, 0, 0}},
		"the next, much later":    {launchesAt(200, 0, 60), 100, 1, cohort{200, 0, 0}},
		"one every 15 s":          {launchesAt(1, 0, 15, 30, 45, 60), 4, 1, cohort{1, 0, 0}},
		"slower than EC2":         {launchesAt(60, 0, 15, 30, 45, 60), 200, 1, cohort{60, 0, 0}},
		"faster than EC2":         {launchesAt(100, 0, 15, 30, 45, 60), 450, 1, cohort{500, 400, time.Minute}},
		"within the same seconds": {launchesAt(100, 0, 1, 2, 3), 0, 1, cohort{400, 0, 0}},
	} {
		self := ec2ops.Launch{ID: "i-9999", At: epoch}
		if tc.self >= 0 {
			self = tc.launches[tc.self]
		}
		got := cohortOf(creating, self, tc.launches, tc.weight)
		if got.size != tc.want.size || got.before != tc.want.before || got.rank < tc.want.rank || got.rank >= got.size {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestRanks: the launches of a cohort, which do not speak to each other, take all ranks,
// one each.
func TestRanks(t *testing.T) {
	all := launchesAt(400, 0)
	var ranks []float64
	for _, l := range all {
		ranks = append(ranks, cohortOf(creating, l, all, 1).rank)
	}
	slices.Sort(ranks)
	for n, r := range ranks {
		if math.Floor(r) != float64(n) {
			t.Fatalf("rank %d is %.2f", n, r)
		}
	}
}

// TestSlot: when the first, the middle and the last of a cohort create their volumes.
func TestSlot(t *testing.T) {
	for _, tc := range []struct{ size, rank, tokens, want float64 }{
		{1000, 0, 1, 80 / 4.8},
		{1000, 500, 1, (130 + 435 - 50) / 4.8},
		{1000, 1000, 1, 950 / 4.8},
		{1000, 0, creating.shared, 0},
		{1000, 10, creating.shared, 0},
		{1000, 1000, creating.shared, 4150 / 4.8},
	} {
		got := cohort{size: tc.size}.slot(creating, tc.tokens, tc.rank)
		if math.Abs(got.Seconds()-tc.want) > 0.001 {
			t.Errorf("rank %g of %g, %g tokens: %s, want %.1f s", tc.rank, tc.size, tc.tokens, got, tc.want)
		}
	}
}

// TestCountTimes: a launch counts once in each window, in the order of the ranks, or every so often.
func TestCountTimes(t *testing.T) {
	middle := func(_ string, window time.Duration) time.Duration { return window / 2 }
	for name, tc := range map[string]struct {
		recount time.Duration
		want    []time.Duration
	}{
		"once":   {0, []time.Duration{5 * time.Second, 35 * time.Second}},
		"repeat": {20 * time.Second, []time.Duration{5 * time.Second, 35 * time.Second, 55 * time.Second}},
	} {
		p := pace{windows: []time.Duration{10 * time.Second, 60 * time.Second}, recount: tc.recount}
		if got := slices.Collect(p.countTimes(middle)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestCountUntil: whoever is throttled in one window has to wait for the next.
func TestCountUntil(t *testing.T) {
	for n, until := range creating.windows[1:] {
		if growth := float64(until-creating.windows[n]) / float64(creating.windows[n]); growth <= 0 || growth > 4 {
			t.Errorf("window %d is %.1f times as long as all before it", n+1, growth)
		}
	}
}

// account is a [Cloud] and a [Waiter] in one.
type account struct {
	t         *testing.T
	launches  []ec2ops.Launch
	counted   int
	countErr  error
	told      []string
	cancelled bool // the run ends with its first pause
}

func (a *account) Launches(ctx context.Context, image string, from, to time.Time, _ string) ([]ec2ops.Launch, bool, error) {
	a.counted++
	if image != "ami-1" || time.Since(from) < cohortSpan || !to.Equal(time.Now()) {
		a.t.Errorf("counts launches of %q from %s to %s", image, from, to)
	}
	return a.launches, true, a.countErr
}

func (a *account) Waiting(reason string) { a.told = append(a.told, reason) }
func (a *account) Note(text string)      { a.told = append(a.told, "note: "+text) }
func (a *account) Pause(ctx context.Context, d time.Duration, what string) error {
	if a.cancelled {
		return errors.New("cancelled")
	}
	time.Sleep(d)
	return ctx.Err()
}

// TestDo: how a call that EC2 throttles so many times is made again.
const patient = 100 // times: the client's own retries

var doCases = map[string]struct {
	throttled int // the first so many calls
	action    string
	others    int
	change    func(*Limiter, *account)
	calls     int // that the client does not retry
	counted   int
	most      time.Duration // that it takes
	least     time.Duration
	tells     string
}{
	"not throttled":   {action: "CreateVolume", others: 999, calls: 1},
	"throttled once":  {throttled: 1, action: "CreateVolume", others: 999, calls: 2, most: 2 * time.Second, tells: "EC2 throttles CreateVolume; retrying in "},
	"throttled twice": {throttled: 2, action: "DescribeVolumes", others: 999, calls: 3, most: 6 * time.Second, tells: "EC2 throttles DescribeVolumes; retrying in "},
	"alone":           {throttled: patient, action: "CreateVolume", calls: 3, counted: 1, most: 18 * time.Second},
	"few":             {throttled: patient, action: "CreateVolume", others: 99, calls: 3, counted: 1, most: 18 * time.Second},
	"many":            {throttled: 3, action: "CreateVolume", others: 999, calls: 4, counted: 1, least: 16 * time.Second, most: 198 * time.Second, tells: "about 1000 instances are being launched; EC2's rate limits let this one create its volume in "},
	"many, a list":    {throttled: patient, action: "DescribeVolumes", others: 999, calls: 3, counted: 1, least: 16 * time.Second, most: 198 * time.Second},
	"shared limits":   {throttled: 5, action: "CreateVolume", others: 999, calls: 6, counted: 1, least: 16 * time.Second, most: 890 * time.Second},
	"no image id":     {throttled: patient, action: "CreateVolume", others: 999, calls: 3, most: 6 * time.Second, change: func(l *Limiter, _ *account) { l.self.ImageID = "" }},
	"an old instance": {throttled: patient, action: "CreateVolume", others: 999, calls: 3, most: 6 * time.Second, change: func(l *Limiter, _ *account) { l.self.Launched = time.Now().Add(-cohortAge - 1) }},
	"counting fails":  {throttled: patient, action: "CreateVolume", others: 999, calls: 3, counted: 1, most: 18 * time.Second, tells: "note: EC2 throttles calls, and the number of instances", change: func(_ *Limiter, a *account) { a.countErr = errors.New("denied") }},
	"counting throttled": {throttled: patient, action: "CreateVolume", others: 999, calls: 3, counted: len(creating.windows), most: 2000 * time.Second, tells: "note: ",
		change: func(_ *Limiter, a *account) { a.countErr = ec2ops.ErrThrottled }},
	"counting throttled, late": {throttled: patient, action: "CreateVolume", others: 999, calls: 3, counted: len(creating.windows) - 2, most: 2000 * time.Second, tells: "note: ",
		change: func(l *Limiter, a *account) { a.countErr, l.start = ec2ops.ErrThrottled, l.start.Add(-220*time.Second) }},
	"cancelled": {throttled: 1, action: "CreateVolume", calls: 1, tells: "EC2 throttles", change: func(_ *Limiter, a *account) { a.cancelled = true }},
}

func TestDo(t *testing.T) {
	for name, tc := range doCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &account{t: t, launches: []ec2ops.Launch{{ID: "i-self", At: time.Now()}}}
				for n := range tc.others {
					a.launches = append(a.launches, ec2ops.Launch{ID: fmt.Sprint("i-", n), At: time.Now()})
				}
				l := &Limiter{Cloud: a, Sources: 1, Counts: &Counts{}}
				l.First(t.Context(), ec2ops.Identity{InstanceID: "i-self", ImageID: "ami-1", Launched: time.Now(), PrivateIP: netip.MustParseAddr("10.0.0.7")})
				if tc.change != nil {
					tc.change(l, a)
				}
				start, calls := time.Now(), 0
				once := fmt.Sprint(ec2ops.WithoutThrottleRetries(t.Context()))
				_, err := Do(t.Context(), l, a, tc.action, func(ctx context.Context) (int, error) {
					if fmt.Sprint(ctx) != once {
						return 0, nil // the client retries
					}
					if calls++; calls <= tc.throttled {
						return 0, ec2ops.ErrThrottled
					}
					return 0, nil
				})
				if (err != nil) != a.cancelled || a.cancelled && !errors.Is(err, ec2ops.ErrThrottled) {
					t.Error(err)
				}
				took := time.Since(start)
				if calls != tc.calls || a.counted != tc.counted || took < tc.least || took > tc.most {
					t.Errorf("%d calls, counted %d times, took %s; want %d, %d, %s to %s", calls, a.counted, took, tc.calls, tc.counted, tc.least, tc.most)
				}
				if !slices.ContainsFunc(a.told, func(s string) bool { return strings.HasPrefix(s, tc.tells) }) && tc.tells != "" {
					t.Errorf("tells %q, want %q", a.told, tc.tells)
				}
			})
		})
	}
}

// TestClientGivesUp: what the client has retried in vain is not made again for ever.
func TestClientGivesUp(t *testing.T) {
	for name, l := range map[string]*Limiter{"nil": nil, "blind": {clientRetries: true}} {
		calls := 0
		_, err := Do(t.Context(), l, &account{t: t}, "CreateVolume", func(context.Context) (int, error) {
			calls++
			return 0, ec2ops.ErrThrottled
		})
		if !errors.Is(err, ec2ops.ErrThrottled) || calls > 2 {
			t.Errorf("%s: %d calls, %v", name, calls, err)
		}
	}
}
