package admission

import (
	"time"

	"snapsource/ec2ops"
)

// pace is how fast EC2's rate limits let launches of one kind follow each other.
type pace struct {
	every       time.Duration // between two launches, in the long run
	burst       float64       // launches that the scarcest full bucket allows at once
	withoutSlot float64       // launches of a cohort that are done before it is counted
	shared      float64       // tokens of each launch if all mutating actions share one bucket
	goesOn      string        // what a launch does in its slot
}

// creating is the pace of launches that create and attach their volume. Its withoutSlot are those of
// CreateVolume's bucket, which holds 100 tokens and gains 5 a second during the first retries. The
// shared tokens are for a launch's four mutating calls, plus 5 % for retries.
var creating = pace{
	every: time.Second / ec2ops.AttachRate, burst: ec2ops.AttachBurst, withoutSlot: 130,
	shared: 1.05 * ec2ops.MutationsShared, goesOn: "create its volume",
}

// arrivedSnapshotCalls are the calls of DescribeSnapshots of a launch whose volume came with it: one to
// choose, one to check once more.
const arrivedSnapshotCalls = 2

// arriving is the pace of launches whose volume came with them: they only describe, and tag the volume
// and, with roles, the instance. The buckets hold 100 tokens each, and gain some 6 s of tokens during
// the first retries.
func arriving(roles bool) pace {
	tags := 1.0
	if roles {
		tags = 2
	}
	every := max(arrivedSnapshotCalls/ec2ops.DescribeRate, tags/ec2ops.TagRate)
	return pace{
		every: time.Duration(every * float64(time.Second)), burst: ec2ops.DescribeBurst / arrivedSnapshotCalls,
		withoutSlot: (ec2ops.DescribeBurst + 6*ec2ops.DescribeRate) / arrivedSnapshotCalls, shared: 1.05 * tags, goesOn: "go on",
	}
}
