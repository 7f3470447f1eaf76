package admission

import (
	"cmp"
	"iter"
	"time"

	"snapsource/ec2ops"
)

// pace is how fast EC2's rate limits let launches of one kind follow each other.
type pace struct {
	every       time.Duration // between two launches, in the long run
	burst       float64       // launches that the scarcest full bucket allows at once
	withoutSlot float64       // launches of a cohort that are done before it is counted
	shared      float64       // tokens of each launch if all mutating actions share one bucket
	behind      float64       // how long after all slots unused ones are taken, as a part of the slots' time
	goesOn      string        // what a launch does in its slot

	// windows are the ends of the windows in which the launches of a cohort count it, in the order of
	// their ranks. A call that is throttled is retried after recount, if that is set, or in the next
	// window. DescribeInstances' bucket holds 100 tokens and gains 20 a second: enough for 340 calls in the first 12 s.
	windows []time.Duration
	recount time.Duration
}

// countTimes yields when a launch counts its cohort, from its first call on, until EC2 answers.
func (p pace) countTimes(jitter func(purpose string, limit time.Duration) time.Duration) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		var from time.Duration
		for _, until := range p.windows {
			for at := from + jitter("rank", until-from); at < until; at += cmp.Or(p.recount, until-from) {
				if !yield(at) {
					return
				}
			}
			from = until
		}
	}
}

// creating is the pace of launches that create and attach their volume. Its withoutSlot are those of
// CreateVolume's bucket, which holds 100 tokens and gains 5 a second during the first retries. The
// shared tokens are for a launch's four mutating calls, plus 5 % for retries.
var creating = pace{
	every: time.Second / ec2ops.AttachRate, burst: ec2ops.AttachBurst, withoutSlot: 130, behind: 0.1,
	shared: 1.05 * ec2ops.MutationsShared, goesOn: "create its volume",
	windows: []time.Duration{12 * time.Second, 60 * time.Second, 220 * time.Second, 700 * time.Second, 2000 * time.Second},
}

// arriving is the pace of launches whose volume came with them. Each lists the volumes and the
// snapshots, and tags the volume; with roles it also tags the instance and lists the snapshots once
// more. The scarcest bucket is that of CreateTags, which gains some 6 s of tokens during the first
// retries.
func arriving(roles bool) pace {
	tags := 1.0
	if roles {
		tags = 2
	}
	return pace{
		every: time.Duration(tags / ec2ops.TagRate * float64(time.Second)), burst: ec2ops.TagBurst / tags,
		withoutSlot: (ec2ops.TagBurst + 6*ec2ops.TagRate) / tags, behind: 0.05, shared: 1.05 * tags, goesOn: "go on",
		// 500 of them are done after 40 s, 5,000 after 490 s: none of these may count later. Until 220 s some
		// 3,800 can count, and 1,600 more in each of the next windows. Without recount a quarter of 5,000 learn
		// of their slots after the window that ends at 220 s, many of them too late: the last was ready after 1.20
		// of the bound. With 0.1 for behind, and roles, it was 1.16.
		windows: []time.Duration{12 * time.Second, 24 * time.Second, 60 * time.Second, 220 * time.Second, 300 * time.Second, 380 * time.Second, 460 * time.Second, 700 * time.Second, 2000 * time.Second},
		recount: 20 * time.Second,
	}
}
