package warm

import "testing"

// TestPacer: with more reads in flight the throughput grows up to a limit. The pacer finds the
// number that reaches it, and not many more.
func TestPacer(t *testing.T) {
	for name, tc := range map[string]struct {
		each, most float64 // throughput of one read in flight, and of all
		least, max int     // reads in flight, once settled
	}{
		"32 are enough":   {5, 125, 32, 32},
		"64 are enough":   {5, 300, 64, 64},
		"96 are enough":   {5, 460, 96, 96},
		"96 are too few":  {1, 10_000, 96, 96},
		"one is enough":   {500, 125, 32, 32},
		"nothing is read": {0, 0, 2, 96},
	} {
		p := newPacer(true, 0)
		for range 12 {
			p.measured(min(float64(p.inFlight)*tc.each, tc.most), 0)
		}
		if p.inFlight < tc.least || p.inFlight > tc.max || p.rate != 0 {
			t.Errorf("%s: %d in flight at %g bytes a second", name, p.inFlight, p.rate)
		}
	}
}

// TestPacerYields: while others read, it takes at most half, and less the more they read; it
// does not slow down further and further, and is as fast as before once they have ended.
func TestPacerYields(t *testing.T) {
	p := newPacer(true, 0)
	device := func() float64 {
		n := min(float64(p.inFlight)*5, 125)
		if p.rate > 0 {
			n = min(n, p.rate)
		}
		return n
	}
	for range 10 {
		p.measured(device(), 0)
	}
	for _, tc := range []struct{ others, least, most float64 }{{1, 62, 63}, {30, 45, 60}, {60, 10, 16}, {125, 10, 16}} {
		for range 100 {
			p.measured(device(), tc.others)
		}
		if p.rate < tc.least || p.rate > tc.most || p.inFlight > 32 {
			t.Errorf("others read %g: %d in flight at %g", tc.others, p.inFlight, p.rate)
		}
	}
	for range yieldFor + 2 {
		p.measured(device(), 0)
	}
	if device() < 120 {
		t.Errorf("afterwards %d in flight at %g", p.inFlight, p.rate)
	}
	if p := newPacer(false, 0); true {
		p.measured(100, 50)
		if p.rate != 0 {
			t.Error("it yields, though it is not to")
		}
	}
}

// TestPacerLimit: the operator's limit holds, also while it yields.
func TestPacerLimit(t *testing.T) {
	p := newPacer(true, 10)
	for i := range 40 {
		p.measured(min(100, p.rate), float64(i%3))
		if p.rate <= 0 || p.rate > 10 {
			t.Fatalf("window %d: %g", i, p.rate)
		}
	}
}
