package agent

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"snapsource/ec2ops"
)

// TestCountAt: each window is used by all, each launch at its own time of it, in the same
// order.
func TestCountAt(t *testing.T) {
	for _, tc := range []struct {
		n    int
		lot  float64
		want time.Duration
	}{
		{0, 0, 0},
		{0, 0.5, 6 * time.Second},
		{1, 0, 12 * time.Second},
		{1, 0.5, 36 * time.Second},
		{2, 0.25, 100 * time.Second},
		{3, 0.999, 699520 * time.Millisecond},
	} {
		if at, ok := countAt(tc.n, tc.lot); !ok || at != tc.want {
			t.Errorf("try %d, lot %g: %s, %v; want %s", tc.n, tc.lot, at, ok, tc.want)
		}
	}
	if _, ok := countAt(len(countUntil), 0); ok {
		t.Error("counts for ever")
	}
	for n, until := range countUntil[1:] {
		if growth := float64(until-countUntil[n]) / float64(countUntil[n]); growth > 4 {
			t.Errorf("window %d is %.1f times as long as all before it; who is refused once too often would be the last of all", n+1, growth)
		}
	}
}

// launchesAt makes launches at seconds after an epoch, n at each.
func launchesAt(n int, seconds ...int) (all []ec2ops.Launch) {
	for _, s := range seconds {
		for range n {
			all = append(all, ec2ops.Launch{ID: fmt.Sprintf("i-%04d", len(all)), At: epoch.Add(time.Duration(s) * time.Second)})
		}
	}
	return all
}

var epoch = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)

// TestCrowdOf: a crowd is those that EC2 has not had the time to serve.
func TestCrowdOf(t *testing.T) {
	for name, tc := range map[string]struct {
		launches []ec2ops.Launch
		self     int
		each     float64
		want     crowd // ahead is the least of it
	}{
		"alone":                   {launchesAt(1, 0), 0, 1, crowd{1, 0, 0}},
		"two sources":             {launchesAt(1, 0), 0, 2, crowd{2, 0, 0}},
		"not listed yet":          {nil, -1, 1, crowd{1, 0, 0}},
		"the last, not listed":    {launchesAt(100, 0), -1, 1, crowd{101, 0, 0}},
		"a sample":                {launchesAt(300, 0), 7, 10, crowd{3000, 0, 0}},
		"the second half":         {launchesAt(500, 0, 30), 700, 1, crowd{1000, 500, 30 * time.Second}},
		"the first half":          {launchesAt(500, 0, 30), 200, 1, crowd{1000, 0, 0}},
		"served long ago":         {launchesAt(200, 0, 60), 300, 1, crowd{200, 0, 0}},
		"the next, much later":    {launchesAt(200, 0, 60), 100, 1, crowd{200, 0, 0}},
		"one every 15 s":          {launchesAt(1, 0, 15, 30, 45, 60), 4, 1, crowd{1, 0, 0}},
		"slower than EC2":         {launchesAt(60, 0, 15, 30, 45, 60), 200, 1, crowd{60, 0, 0}},
		"faster than EC2":         {launchesAt(100, 0, 15, 30, 45, 60), 450, 1, crowd{500, 400, time.Minute}},
		"within the same seconds": {launchesAt(100, 0, 1, 2, 3), 0, 1, crowd{400, 0, 0}},
	} {
		self := ec2ops.Launch{ID: "i-9999", At: epoch}
		if tc.self >= 0 {
			self = tc.launches[tc.self]
		}
		got := crowdOf(self, tc.launches, tc.each)
		if got.size != tc.want.size || got.before != tc.want.before || got.ahead < tc.want.ahead || got.ahead >= got.size {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestCrowdOfPlaces: the launches of a crowd, which do not speak to each other, take all
// places of the queue, one each.
func TestCrowdOfPlaces(t *testing.T) {
	all := launchesAt(400, 0)
	var ahead []float64
	for _, l := range all {
		ahead = append(ahead, crowdOf(l, all, 1).ahead)
	}
	slices.Sort(ahead)
	for n, a := range ahead {
		if math.Floor(a) != float64(n) {
			t.Fatalf("the place after %d is %.2f", n, a)
		}
	}
}

// TestTurn: when the first, the middle and the last of a crowd create their volumes.
func TestTurn(t *testing.T) {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	for _, tc := range []struct {
		size, ahead float64
		limits      limits
		mine, last  time.Duration
	}{
		{1, 0, perAction, 0, 0},
		{100, 99, perAction, 0, 0},
		{1000, 0, perAction, seconds(25 / 4.9), seconds(950 / 4.9)},
		{1000, 500, perAction, seconds((75 + 462.5 - 50) / 4.9), seconds(950 / 4.9)},
		{1000, 1000, perAction, seconds(950 / 4.9), seconds(950 / 4.9)},
		{1, 0, shared, 0, 0},
		{12, 11, shared, 0, 0},
		{1000, 0, shared, 0, seconds(3950 / 4.7)},
		{1000, 500, shared, seconds(1950 / 4.7), seconds(3950 / 4.7)},
	} {
		mine, last := crowd{size: tc.size, ahead: tc.ahead}.turn(tc.limits)
		if (mine-tc.mine).Abs() > time.Millisecond || (last-tc.last).Abs() > time.Millisecond {
			t.Errorf("%g of %g, limits %d: %s of %s, want %s of %s", tc.ahead, tc.size, tc.limits, mine, last, tc.mine, tc.last)
		}
	}
}

// TestPlaceIn: a turn counts from the first launch's first call; who learns of it too
// late goes at once or behind the others.
func TestPlaceIn(t *testing.T) {
	c := crowd{size: 1000, ahead: 500}
	mine, last := c.turn(perAction)
	if p := placeIn(c, perAction, "i-1", epoch, epoch); p.late || p.at.Sub(epoch) != mine {
		t.Errorf("in time: %+v, want %s after its first call", p, mine)
	}
	if p := placeIn(c, perAction, "i-1", epoch, epoch.Add(mine+lateFor)); p.late || p.at.Sub(epoch) != mine {
		t.Errorf("just in time: %+v, want that its turn is kept", p)
	}
	c.before = 30 * time.Second
	if p := placeIn(c, perAction, "i-1", epoch, epoch); p.late || p.at.Sub(epoch) != mine-c.before {
		t.Errorf("launched after the first: %+v, want %s", p, mine-c.before)
	}
	c.before = 0
	now, atOnce := epoch.Add(mine+lateFor+1), 0
	const late = 400
	for n := range late {
		p := placeIn(c, perAction, fmt.Sprintf("i-%d", n), epoch, now)
		behindBy := p.at.Sub(epoch) - last
		switch {
		case !p.late:
			t.Fatalf("i-%d is not late", n)
		case !p.at.After(now):
			atOnce++
		case behindBy < 0 || behindBy > last/10:
			t.Errorf("i-%d has its turn %s after the last one", n, behindBy)
		}
	}
	if atOnce < late*4/10 || atOnce > late*6/10 {
		t.Errorf("%d of %d go at once, want half", atOnce, late)
	}
}
