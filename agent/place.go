package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"snapsource/ec2ops"
)

// Many instances that are launched at the same moment share EC2's limits, and know
// nothing of each other. Who tries again and again without knowing how many others do
// is refused some ten times for each time that the crowd is e times as large as one try
// supposes. So a launch that is refused looks how many were launched with it, and takes
// its place among them. Here is where that place is; the waiting is in queue.go.

// countUntil are the ends of the windows in which the launches of a crowd count it, each
// at a time of its own: who is refused in one tries in the next. DescribeInstances serves
// 20 a second, 100 at once, of which those who are at work need 5: 340 in the first
// window, a thousand by the end of the second. Until the first ends nobody's turn comes,
// as those whom EC2 did not refuse use up what there is.
var countUntil = []time.Duration{12 * time.Second, 60 * time.Second, 220 * time.Second, 700 * time.Second, 2000 * time.Second}

// countAt gives when, since its first call, a launch counts for the nth time, from 0.
// lot, from 0 to 1, is the launch's own. ok is false after the last window.
func countAt(n int, lot float64) (at time.Duration, ok bool) {
	if n >= len(countUntil) {
		return 0, false
	}
	var from time.Duration
	if n > 0 {
		from = countUntil[n-1]
	}
	return from + share(lot, countUntil[n]-from), true
}

// order is the purpose of the lots by which the launches of a crowd count it and have their
// turns: who is to be first has to know first.
const order = "order"

// lot draws a number from 0 to 1 for an instance, the same each time.
func lot(instanceID, purpose string) float64 {
	sum := sha256.Sum256([]byte(purpose + "\x00" + instanceID))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

func share(lot float64, of time.Duration) time.Duration { return time.Duration(lot * float64(of)) }

// crowd is the launches that EC2 has not caught up with, in numbers of volumes.
type crowd struct {
	size   float64
	ahead  float64       // those before the volume of this launch
	before time.Duration // how long before this launch the first of them was
}

// atOnce is the time in which launches that were asked for together follow each other.
const atOnce = 15 * time.Second

// crowdOf finds the crowd of one launch among those of the last minutes, each of which
// stands for so many volumes: of several sources, and of those that a sample leaves
// out. EC2 has caught up with a crowd when it had the time to serve all of it.
func crowdOf(self ec2ops.Launch, launches []ec2ops.Launch, each float64) crowd {
	launches = slices.Clone(launches)
	if !slices.ContainsFunc(launches, func(l ec2ops.Launch) bool { return l.ID == self.ID }) {
		launches = append(launches, self) // EC2 does not list it yet
	}
	slices.SortFunc(launches, func(a, b ec2ops.Launch) int {
		return cmp.Or(a.At.Truncate(atOnce).Compare(b.At.Truncate(atOnce)), cmp.Compare(lot(a.ID, order), lot(b.ID, order)))
	})
	me := slices.IndexFunc(launches, func(l ec2ops.Launch) bool { return l.ID == self.ID })
	first, after := 0, len(launches)
	unserved := 0.0
	for n, l := range launches {
		if n > 0 {
			unserved -= l.At.Truncate(atOnce).Sub(launches[n-1].At.Truncate(atOnce)).Seconds() * ec2ops.AttachRate
		}
		if unserved <= 0 && n <= me {
			first, unserved = n, 0
		} else if unserved <= 0 {
			after = n
			break
		}
		unserved += each
	}
	earliest := slices.MinFunc(launches[first:after], func(a, b ec2ops.Launch) int { return a.At.Compare(b.At) })
	return crowd{
		size:   float64(after-first) * each,
		ahead:  (float64(me-first) + lot(self.ID, "within")) * each,
		before: launches[me].At.Sub(earliest.At),
	}
}

// limits are what a crowd's calls draw on, as far as a launch knows.
type limits int

const (
	// perAction: a bucket for each action, as EC2's guide says. AttachVolume's is the
	// scarcest.
	perAction limits = iota
	// shared: one bucket for all that changes something.
	shared
)

const (
	// pace and sharedPace are how much of what EC2 serves is made use of: what comes
	// at random in between must find its turn too. Where all is one bucket, much has
	// been refused, and waits, before a launch knows it.
	pace       = 0.98
	sharedPace = 0.94

	// unqueued is how many of a crowd do not queue, because EC2 has answered their first
	// calls, whoever they are: at most ec2ops.DescribeBurst, and fewer when one of the two
	// is refused.
	unqueued = 75

	// lateFor is how long a turn that is missed is kept: the bucket fills in 10 s.
	lateFor = 8 * time.Second
	// behind is how much longer the queue is for those who knew of their turn too
	// late. Half of them go at once: about as many turns are not taken.
	behind = 0.1
)

// turn gives when, after the crowd's first launch has made its first call, this one is to
// create its volume; and when the last one is.
func (c crowd) turn(l limits) (mine, last time.Duration) {
	at := func(ahead float64) time.Duration {
		var seconds float64
		switch l {
		case perAction:
			first := min(c.size, unqueued)
			n := first + ahead*(c.size-first)/c.size
			seconds = (n - ec2ops.AttachBurst) / (ec2ops.AttachRate * pace)
		case shared:
			seconds = (ec2ops.MutationsShared*ahead - ec2ops.AttachBurst) / (ec2ops.AttachRate * sharedPace)
		}
		return time.Duration(max(0, seconds) * float64(time.Second))
	}
	if c.size <= ec2ops.DescribeBurst && l == perAction {
		return 0, 0
	}
	return at(c.ahead), at(c.size)
}

// place is when a launch is to create its volume.
type place struct {
	at   time.Time
	late bool // its turn was over when it became known
}

// placeIn gives the place of an instance in its crowd, which it joined with its first
// call at begun. Turns count from the first call of the crowd's first launch: all are
// taken to have needed the same time from their launch to there.
func placeIn(c crowd, l limits, instanceID string, begun, now time.Time) place {
	mine, last := c.turn(l)
	start := begun.Add(-c.before)
	p := place{at: start.Add(mine)}
	if now.Sub(p.at) <= lateFor {
		return p
	}
	p.late = true
	if lot(instanceID, "late") < 0.5 {
		p.at = start.Add(last + share(lot(instanceID, "behind")*behind, last))
	}
	return p
}
