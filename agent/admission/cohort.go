package admission

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sort"
	"time"

	"snapsource/ec2ops"
)

// cohort is the launches that EC2's rate limits still delay, counted in volumes.
type cohort struct {
	size, rank float64       // rank is this launch's, from 0
	before     time.Duration // from the cohort's first launch to this one
}

// cohortOf finds this launch's cohort among the launches of its image, which go on at this pace. Each
// one stands for weight volumes.
func cohortOf(p pace, self ec2ops.Launch, launches []ec2ops.Launch, weight float64) cohort {
	isSelf := func(l ec2ops.Launch) bool { return l.ID == self.ID }
	launches = slices.Clone(launches)
	if !slices.ContainsFunc(launches, isSelf) {
		launches = append(launches, self) // EC2 does not list it yet
	}
	sort.SliceStable(launches, func(i, j int) bool {
		a, b := launches[i], launches[j]
		return cmp.Or(a.At.Truncate(launchWindow).Compare(b.At.Truncate(launchWindow)), cmp.Compare(fraction(a.ID, "rank"), fraction(b.ID, "rank"))) < 0
	})
	own, first, end := slices.IndexFunc(launches, isSelf), 0, 0
	for servedBy := (time.Time{}); end < len(launches); end++ { // when EC2 can have served all earlier launches
		if at := launches[end].At.Truncate(launchWindow); !at.Before(servedBy) {
			if end > own {
				break
			}
			first, servedBy = end, at
		}
		servedBy = servedBy.Add(time.Duration(weight * float64(p.every)))
	}
	earliest := slices.MinFunc(launches[first:end], func(a, b ec2ops.Launch) int { return a.At.Compare(b.At) })
	return cohort{float64(end-first) * weight, (float64(own-first) + fraction(self.ID, "volume")) * weight, launches[own].At.Sub(earliest.At)}
}

// slot returns when the launch of a rank may go on, counted from the first call of the
// cohort's first launch. tokens is what each launch takes from the scarcest bucket.
func (c cohort) slot(p pace, tokens, rank float64) time.Duration {
	if tokens == 1 { // the launches without a slot are a random part of the cohort
		rank = p.withoutSlot + rank*(c.size-p.withoutSlot)/c.size
	}
	return time.Duration(max(0, tokens*rank-p.burst) / utilization * float64(p.every))
}

// fraction returns a pseudo-random number from 0 to 1 for an instance. All instances compute
// the same one, so the launches of a cohort agree on its ranks.
func fraction(instanceID, purpose string) float64 {
	sum := sha256.Sum256([]byte(purpose + "\x00" + instanceID))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
