package mountfs

import (
	"cmp"
	"sort"
)

// Range is a range of a device or file, in bytes. Start and Length are not negative, and
// their sum fits into an int64.
type Range struct{ Start, Length int64 }

// End returns the first byte after the range.
func (r Range) End() int64 { return r.Start + r.Length }

// MergeRanges returns the bytes of all ranges as sorted, disjoint ranges that do not touch
// each other, none of them empty. It does not change its argument.
func MergeRanges(ranges []Range) []Range {
	sorted := append([]Range(nil), ranges...)
	sort.SliceStable(sorted, func(i, j int) bool { return cmp.Compare(sorted[i].Start, sorted[j].Start) < 0 })
	merged := sorted[:0]
	for _, r := range sorted {
		merged = appendRange(merged, r)
	}
	return merged
}

// appendRange adds a range that begins at or after the start of the last one. It joins ranges
// that overlap or touch.
func appendRange(list []Range, r Range) []Range {
	if r.Length <= 0 {
		return list
	}
	if n := len(list); n > 0 && r.Start >= list[n-1].Start && r.Start <= list[n-1].End() {
		list[n-1].Length = max(list[n-1].End(), r.End()) - list[n-1].Start
		return list
	}
	return append(list, r)
}

// SubtractRanges returns the bytes of a that are not in b. Both are as MergeRanges returns
// them, and so is the result.
func SubtractRanges(a, b []Range) []Range {
	var rest []Range
	for _, r := range a {
		for len(b) > 0 && b[0].End() <= r.Start {
			b = b[1:]
		}
		for _, cut := range b {
			if cut.Start >= r.End() {
				break
			}
			rest = appendRange(rest, Range{r.Start, cut.Start - r.Start})
			r = Range{cut.End(), r.End() - cut.End()}
		}
		rest = appendRange(rest, r)
	}
	return rest
}

// intersectRanges returns the bytes that are in both a and b, which are merged.
func intersectRanges(a, b []Range) []Range { return SubtractRanges(a, SubtractRanges(a, b)) }

// TotalLength returns the sum of the ranges' lengths.
func TotalLength(ranges []Range) int64 {
	var n int64
	for _, r := range ranges {
		n += r.Length
	}
	return n
}
