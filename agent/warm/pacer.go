package warm

import "time"

const (
	// firstInFlight is the number of reads in flight at first: by reports a reader alone gets
	// some 5 MiB/s, so fewer would waste the first windows. For the hot set, which takes only
	// some windows, it is twice that.
	firstInFlight = 32
	// mostInFlight bounds the memory: each read has a buffer of [chunkSize], 24 MiB in all. With the
	// largest record of a hot set the process takes less than 64 MiB.
	mostInFlight = 96
	// window is the time over which throughput is measured. It is longer than nearly all first
	// reads of a block.
	window = 250 * time.Millisecond
	// worthwhile is the growth of throughput for which the number of reads in flight is doubled.
	worthwhile = 1.1
	// retryAfter is the number of windows after which more reads in flight are tried again: EBS
	// loads blocks at a rate that changes (AWS's guide, "Initialize Amazon EBS volumes").
	retryAfter = 20
	// yieldFor is the number of windows without reads of others after which the pace is full
	// again.
	yieldFor = 4
	// decay is what is left of the best throughput after each window: it may have come from
	// burst credits.
	decay = 0.98
)

// pacer decides how many reads are in flight, and at most how many bytes are read a second. It
// doubles the number while the throughput grows, and returns to the smaller one when it does
// not. If it yields, it leaves more than half of the throughput to others while they read.
type pacer struct {
	yields bool  // to the reads of others
	limit  int64 // bytes a second, 0 for none; set by the operator

	inFlight int     // how many reads may be in flight
	rate     float64 // bytes a second; 0 for no limit

	settled int     // the number to return to
	best    float64 // the throughput with it, bytes a second
	trying  bool    // a larger number
	held    int     // windows since the last try
	busy    int     // windows for which to yield
}

func newPacer(yields bool, limit int64) *pacer {
	first := firstInFlight
	if !yields {
		first *= 2
	}
	return &pacer{yields: yields, limit: limit, inFlight: first, rate: float64(limit), settled: first}
}

// measured takes the throughput of a window in bytes a second, ours and that of others, and sets
// the pace of the next one. The throughput of a window that was limited says nothing about more
// reads in flight.
func (p *pacer) measured(ours, others float64) {
	if p.yields && others > 0 {
		p.busy = yieldFor
	}
	switch {
	case p.busy > 0:
		p.busy--
		p.trying = false
		p.best = max(p.best, ours) // it does not decay: ours is limited
		p.inFlight = max(p.settled/2, 2)
		p.rate = min(max(p.best*0.9-2*others, p.best/8), p.best/2)
	default:
		p.rate = 0
		p.search(ours)
	}
	if l := float64(p.limit); l > 0 && (p.rate == 0 || p.rate > l) {
		p.rate = l
	}
}

// search sets the number of reads in flight while there is no limit but the device's.
func (p *pacer) search(ours float64) {
	switch {
	case p.best == 0: // the first window
		p.best = ours
		p.try()
	case p.trying && ours > p.best*worthwhile:
		p.settled, p.best = p.inFlight, ours
		p.try()
	case p.trying:
		p.trying = false
		p.inFlight, p.held = p.settled, 0
	default:
		p.inFlight = p.settled
		p.best = max(p.best*decay, ours)
		if p.held++; p.held >= retryAfter {
			p.best = ours
			p.try()
		}
	}
}

// try doubles the number of reads in flight for the next window.
func (p *pacer) try() {
	p.inFlight = min(2*p.settled, mostInFlight)
	p.trying = p.inFlight > p.settled
	p.held = 0
}
