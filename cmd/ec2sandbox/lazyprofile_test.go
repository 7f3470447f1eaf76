//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

func TestParseLazy(t *testing.T) {
	got, err := parseLazy("fetches=32,median=50ms,prefetch=1")
	want := ebsProfile
	want.name, want.fetches, want.median, want.prefetch = "fetches=32,median=50ms,prefetch=1", 32, 50*time.Millisecond, 1
	want.p99 = (ebsP99 * 5 / 9).Round(time.Millisecond) // the same width
	if got.p99 = got.p99.Round(time.Millisecond); err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	if got, err := parseLazy("none"); err != nil || got.cold {
		t.Errorf("got %+v (%v)", got, err)
	}
	for _, bad := range []string{"", "slow", "fetches=0", "fetches=x", "median=-1s", "median=1s,p99=1ms", "colour=red"} {
		if got, err := parseLazy(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// TestDelays: one reader gets what is reported of EBS, and the seed decides.
func TestDelays(t *testing.T) {
	const n, seed = 10000, 7
	var all []time.Duration
	var sum time.Duration
	for b := range int64(n) {
		d := ebsProfile.delay(seed, b)
		if d != ebsProfile.delay(seed, b) || d == ebsProfile.delay(seed+1, b) {
			t.Fatalf("block %d: the delay does not depend on the seed alone", b)
		}
		all = append(all, d)
		sum += d
	}
	slices.Sort(all)
	if median, p99 := all[n/2], all[n*99/100]; median < 85*time.Millisecond || median > 95*time.Millisecond ||
		p99 < 270*time.Millisecond || p99 > 330*time.Millisecond {
		t.Errorf("median %v, 99th percentile %v", median, p99)
	}
	rate := float64(n*lazyBlock) / mib / sum.Seconds()
	if ceiling := rate * ebsFetches; rate < 4.5 || rate > 5.5 || ceiling < 280 || ceiling > 330 {
		t.Errorf("%.1f MiB/s for one reader, %.0f MiB/s in all", rate, ceiling)
	}
	if got := (lazyProfile{}).delay(seed, 1); got != 0 {
		t.Errorf("without a median: %v", got)
	}
}
