package mountfs

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMergeRanges(t *testing.T) {
	for name, tc := range map[string]struct{ in, want []Range }{
		"none":            {nil, nil},
		"empty ones":      {[]Range{{5, 0}, {7, 0}}, nil},
		"in no order":     {[]Range{{20, 5}, {0, 5}}, []Range{{0, 5}, {20, 5}}},
		"that touch":      {[]Range{{5, 5}, {0, 5}}, []Range{{0, 10}}},
		"that overlap":    {[]Range{{0, 10}, {5, 10}}, []Range{{0, 15}}},
		"within another":  {[]Range{{0, 100}, {5, 10}, {100, 1}}, []Range{{0, 101}}},
		"the same twice":  {[]Range{{3, 4}, {3, 4}}, []Range{{3, 4}}},
		"an empty within": {[]Range{{0, 2}, {1, 0}, {3, 2}}, []Range{{0, 2}, {3, 2}}},
	} {
		if diff := cmp.Diff(tc.want, MergeRanges(tc.in), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSubtractRanges(t *testing.T) {
	for name, tc := range map[string]struct{ a, b, want []Range }{
		"nothing":         {[]Range{{0, 5}}, nil, []Range{{0, 5}}},
		"from nothing":    {nil, []Range{{0, 5}}, nil},
		"all":             {[]Range{{2, 5}}, []Range{{0, 10}}, nil},
		"the start":       {[]Range{{0, 10}}, []Range{{0, 3}}, []Range{{3, 7}}},
		"the end":         {[]Range{{0, 10}}, []Range{{7, 9}}, []Range{{0, 7}}},
		"the middle":      {[]Range{{0, 10}}, []Range{{2, 2}, {6, 2}}, []Range{{0, 2}, {4, 2}, {8, 2}}},
		"one across two":  {[]Range{{0, 10}, {20, 10}}, []Range{{5, 20}}, []Range{{0, 5}, {25, 5}}},
		"what is between": {[]Range{{0, 10}, {20, 10}}, []Range{{10, 10}}, []Range{{0, 10}, {20, 10}}},
	} {
		if diff := cmp.Diff(tc.want, SubtractRanges(tc.a, tc.b), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// space is the size of the bitmaps with which TestRangesByBitmap compares.
const space = 64

func bitmap(ranges []Range) (bits [space]bool) {
	for _, r := range ranges {
		for i := r.Start; i < r.End(); i++ {
			bits[i] = true
		}
	}
	return bits
}

func TestRangesByBitmap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func() (ranges []Range) {
		for range random.IntN(8) {
			start := random.Int64N(space)
			ranges = append(ranges, Range{start, random.Int64N(min(space-start, 12) + 1)})
		}
		return ranges
	}
	for range 10_000 {
		a, b := draw(), draw()
		mergedA, mergedB := MergeRanges(a), MergeRanges(b)
		rest, both := SubtractRanges(mergedA, mergedB), intersectRanges(mergedA, mergedB)
		inA, inB := bitmap(a), bitmap(b)
		var wantRest, wantBoth [space]bool
		for i := range space {
			wantRest[i], wantBoth[i] = inA[i] && !inB[i], inA[i] && inB[i]
		}
		checkMerged(t, a, mergedA, inA)
		checkMerged(t, a, rest, wantRest)
		checkMerged(t, a, both, wantBoth)
		if t.Failed() {
			t.Fatalf("of %v and %v", a, b)
		}
	}
}

// checkMerged checks that ranges are merged and hold the bytes of want.
func checkMerged(t *testing.T, from, ranges []Range, want [space]bool) {
	t.Helper()
	total := int64(0)
	for _, set := range want {
		if set {
			total++
		}
	}
	if bitmap(ranges) != want || TotalLength(ranges) != total {
		t.Errorf("%v from %v", ranges, from)
	}
	for i, r := range ranges {
		if r.Length <= 0 || i > 0 && r.Start <= ranges[i-1].End() {
			t.Errorf("not merged: %v", ranges)
		}
	}
}

func TestAligned(t *testing.T) {
	for _, tc := range []struct{ in, want Range }{
		{Range{1, 1}, Range{0, 4096}},
		{Range{4095, 2}, Range{0, 8192}},
		{Range{1 << 20, 4096}, Range{1 << 20, 4096}},
		{Range{2<<20 - 1024, 1024}, Range{2<<20 - 4096, 4096}},
	} {
		if got := tc.in.Aligned(2 << 20); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.in, got, tc.want)
		}
	}
}
