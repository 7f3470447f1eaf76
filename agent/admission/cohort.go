package admission

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"snapsource/ec2ops"
	"time"
)

// cohort is the launches whose volumes EC2's rate limits have not let through yet, in volumes.
type cohort struct {
	size, rank float64       // rank is this launch's, from 0
	before     time.Duration // from the cohort's first launch to this one
}

// cohortOf finds this launch's cohort among the launches of its image, each of which stands
// for so many volumes.
func cohortOf(self ec2ops.Launch, launches []ec2ops.Launch, each float64) cohort {
	isSelf := func(l ec2ops.Launch) bool { return l.ID == self.ID }
	launches = slices.Clone(launches)
	if !slices.ContainsFunc(launches, isSelf) {
		launches = append(launches, self) // EC2 does not list it yet
	}
	slices.SortFunc(launches, func(a, b ec2ops.Launch) int {
		return cmp.Or(a.At.Truncate(together).Compare(b.At.Truncate(together)), cmp.Compare(draw(a.ID, "rank"), draw(b.ID, "rank")))
	})
	me, first, end := slices.IndexFunc(launches, isSelf), 0, 0
	for served := (time.Time{}); end < len(launches); end++ { // served: when EC2 can have attached all before
		if at := launches[end].At.Truncate(together); !at.Before(served) {
			if end > me {
				break
			}
			first, served = end, at
		}
		served = served.Add(time.Duration(each * float64(attachEvery)))
	}
	earliest := slices.MinFunc(launches[first:end], func(a, b ec2ops.Launch) int { return a.At.Compare(b.At) })
	return cohort{float64(end-first) * each, (float64(me-first) + draw(self.ID, "volume")) * each, launches[me].At.Sub(earliest.At)}
}

// slot gives when the launch of a rank is to create its volume, after the first call of the cohort's
// first launch, if each launch takes so many tokens of the scarcest bucket.
func (c cohort) slot(tokens, rank float64) time.Duration {
	if tokens == 1 { // the unslotted are a random part of the cohort
		rank = unslotted + rank*(c.size-unslotted)/c.size
	}
	return time.Duration(max(0, tokens*rank-ec2ops.AttachBurst) / utilization * float64(attachEvery))
}

// draw gives a number from 0 to 1 for an instance, the same in all others' eyes: so the
// launches of a cohort rank it alike.
func draw(instanceID, purpose string) float64 {
	sum := sha256.Sum256([]byte(purpose + "\x00" + instanceID))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
