package warm

import (
	"cmp"
	"slices"
	"time"

	"snapsource/mountfs"
)

// sample is the first read of a block.
type sample struct {
	offset int64
	took   time.Duration
}

func (s *warming) note(offset int64, took time.Duration) {
	if len(s.samples) < samplesMax {
		s.samples = append(s.samples, sample{offset, took})
	}
}

// compare reads the first blocks once more, to say how much faster that is now.
func (s *warming) compare() {
	if len(s.samples) == 0 {
		return
	}
	b, free, err := mountfs.ReadBuffer(mountfs.ReadAlignment)
	if err != nil {
		return
	}
	defer free()
	again := slices.Clone(s.samples)
	for i := range again {
		start := time.Now()
		if _, err := s.reader.ReadAt(b, again[i].offset); err != nil {
			return
		}
		again[i].took = time.Since(start)
	}
	s.now.Before, s.now.After = median(s.samples), median(again)
}

func median(samples []sample) time.Duration {
	sorted := slices.Clone(samples)
	slices.SortFunc(sorted, func(a, b sample) int { return cmp.Compare(a.took, b.took) })
	return sorted[len(sorted)/2].took
}
