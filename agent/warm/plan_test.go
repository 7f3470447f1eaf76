package warm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"snapsource/mountfs"
)

const kib = 1 << 10

func collect(next units) (all []unit) {
	for u := next(); u != nil; u = next() {
		all = append(all, u)
	}
	return all
}

func TestInOrder(t *testing.T) {
	got := collect(inOrder([]mountfs.Range{{Start: 0, Length: 4 * kib}, {Start: 100 * kib, Length: 4 * kib}, {Start: 500 * kib, Length: 1100 * kib}, {Start: 4096 * kib, Length: 1}}))
	want := []unit{
		{{Start: 0, Length: 4 * kib}, {Start: 100 * kib, Length: 4 * kib}, {Start: 500 * kib, Length: 12 * kib}},
		{{Start: 512 * kib, Length: 512 * kib}},
		{{Start: 1024 * kib, Length: 512 * kib}},
		{{Start: 1536 * kib, Length: 64 * kib}},
		{{Start: 4096 * kib, Length: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := collect(inOrder(nil)); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// TestInOrderOfUse: each block is there once, at the place of its first range; small gaps are
// read, large ones are not.
func TestInOrderOfUse(t *testing.T) {
	got := inOrderOfUse([]mountfs.Range{
		{Start: 3 << 20, Length: 4 * kib},
		{Start: 0, Length: 4 * kib},
		{Start: 3<<20 + 200*kib, Length: 4 * kib},
		{Start: 3<<20 + 20*kib, Length: 4 * kib},
		{Start: 508 * kib, Length: 8 * kib},
	})
	want := []unit{
		{{Start: 3 << 20, Length: 24 * kib}, {Start: 3<<20 + 200*kib, Length: 4 * kib}},
		{{Start: 0, Length: 4 * kib}, {Start: 508 * kib, Length: 4 * kib}},
		{{Start: 512 * kib, Length: 4 * kib}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAligned(t *testing.T) {
	for _, tc := range []struct{ in, want mountfs.Range }{
		{mountfs.Range{Start: 1, Length: 1}, mountfs.Range{Start: 0, Length: 4096}},
		{mountfs.Range{Start: 4095, Length: 2}, mountfs.Range{Start: 0, Length: 8192}},
		{mountfs.Range{Start: 1 << 20, Length: 4096}, mountfs.Range{Start: 1 << 20, Length: 4096}},
		{mountfs.Range{Start: 2<<20 - 1024, Length: 1024}, mountfs.Range{Start: 2<<20 - 4096, Length: 4096}},
	} {
		if got := aligned(tc.in, 2<<20); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.in, got, tc.want)
		}
	}
}
