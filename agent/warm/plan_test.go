package warm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"snapsource/agent/hotset"
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
	want := "0+4K 100K+4K 500K+12K; 512K+512K; 1024K+512K; 1536K+64K; 4096K+0K"
	if text := describeUnits(got); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if got := collect(inOrder(nil)); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// describeUnits writes units in KiB, with the file and the place in it.
func describeUnits(list []unit) string {
	var units []string
	for _, u := range list {
		var parts []string
		for _, p := range u {
			text := fmt.Sprintf("%dK+%dK", p.Start/kib, p.Length/kib)
			if p.Start == 0 {
				text = fmt.Sprintf("0+%dK", p.Length/kib)
			}
			if p.file != nil {
				text += fmt.Sprintf("=%s@%dK", p.file.Path, p.at/kib)
			}
			parts = append(parts, text)
		}
		units = append(units, strings.Join(parts, " "))
	}
	return strings.Join(units, "; ")
}

// ofKiB makes ranges from starts and lengths in KiB.
func ofKiB(numbers ...int64) (list []mountfs.Range) {
	for i := 0; i+1 < len(numbers); i += 2 {
		list = append(list, mountfs.Range{Start: numbers[i] * kib, Length: numbers[i+1] * kib})
	}
	return list
}

// TestHotMetadata: each block is there once, at the place of its first range; small gaps are
// read, large ones are not.
func TestHotMetadata(t *testing.T) {
	set := hotset.Set{Metadata: ofKiB(3072, 4, 0, 4, 3272, 4, 3092, 4, 508, 8)}
	const want = "3072K+24K 3272K+4K; 0+4K 508K+4K; 512K+4K"
	if got := describeUnits(hotMetadata(set, 1<<30)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestHotFiles: parts of files are found on the device, in the order of use; what does not fit into
// memory, and a file with holes, is read past the page cache; and of a record that names a range
// again and again no more than the device has.
func TestHotFiles(t *testing.T) {
	files := []hotset.File{
		{Path: "a", Ranges: ofKiB(0, 300, 400, 100), Blocks: ofKiB(1000, 100, 5000, 300)},
		{Path: "holes", Ranges: ofKiB(0, 100), Blocks: ofKiB(1100, 20, 1130, 20)},
		{Path: "b", Ranges: ofKiB(8, 4), Blocks: ofKiB(1020, 4)},
		{Path: "large", Ranges: ofKiB(0, 1000), Blocks: ofKiB(10240, 1000)},
	}
	const want = "1000K+24K=a@0K 1020K+4K=b@8K; 1100K+50K 1024K+76K=a@24K; " +
		"5000K+120K=a@100K; 5120K+80K=a@220K 5200K+100K=a@400K; 10240K+512K; 10752K+488K"
	if got := describeUnits(hotFiles(hotset.Set{Files: files}, 1<<30, 600*kib)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var bytes int64
	for _, u := range hotFiles(hotset.Set{Files: slices.Repeat(files, 100)}, 16<<20, 1<<40) {
		bytes += u.bytes()
	}
	if bytes > 16<<20 || bytes < 8<<20 {
		t.Errorf("%d bytes of a device of 16 MiB", bytes)
	}
}
