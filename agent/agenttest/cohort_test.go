package agenttest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// refused is a fault: EC2 throttles a call.
func refused(action string, nth int, d time.Duration) ec2test.Fault {
	return ec2test.Fault{Effect: ec2test.Fail, Action: action, Nth: nth, For: d, Code: "RequestLimitExceeded"}
}

const forever = 24 * time.Hour

// lists is a fault: EC2 throttles the first call of a launch.
func lists(d time.Duration) []ec2test.Fault {
	return []ec2test.Fault{refused("DescribeVolumes", 1, d)}
}

var cohortCases = map[string]struct {
	others   int    // launched at the same time; they make no calls
	image    string // of the others
	aged     time.Duration
	deny     string
	faults   []ec2test.Fault
	timeout  time.Duration
	within   time.Duration // of which the run is over; 0: not looked at
	counts   int           // how often it counts
	samples  int           // of these, how often only a part
	tells    string        // what it says that it waits for
	notes    string
	exitCode int
	fails    string
}{
	"alone, not throttled": {within: 7 * time.Second},
	"many, not throttled":  {others: 500, within: 7 * time.Second},
	"many, throttled once": {others: 999, faults: lists(0), within: 9 * time.Second, tells: "EC2 throttles DescribeVolumes; retrying in "},
	"alone, volumes and snapshots throttled once": {
		faults: append(lists(0), refused("DescribeSnapshots", 1, 0)), within: 13 * time.Second, tells: "EC2 throttles DescribeSnapshots; ",
	},
	"alone, CreateVolume throttled once": {
		faults: []ec2test.Fault{refused("CreateVolume", 1, 0)}, within: 9 * time.Second, tells: "EC2 throttles CreateVolume; ",
	},
	"alone, throttled for 10 s": {
		faults: lists(10 * time.Second), within: 25 * time.Second, counts: 1, tells: "EC2 throttles DescribeVolumes; ",
	},
	"alone, CreateVolume throttled for 10 s": {
		faults: []ec2test.Fault{refused("CreateVolume", 1, 10*time.Second)}, within: 40 * time.Second, counts: 1, tells: "EC2 throttles CreateVolume; ",
	},
	"throttled once the volume is made": {
		faults: []ec2test.Fault{refused("AttachVolume", 1, 0)}, within: 12 * time.Second,
	},
	"many of another image": {
		others: 999, image: "ami-0123456789abcdef0", faults: lists(10 * time.Second), within: 25 * time.Second, counts: 1,
		tells: "EC2 throttles DescribeVolumes; ",
	},
	"many": {
		others: 999, faults: lists(10 * time.Second), within: 4 * time.Minute, counts: 1,
		tells: "about 1000 instances are being launched; EC2's rate limits let this one create its volume in ",
	},
	"many, counting is throttled": {
		others: 999, faults: append(lists(10*time.Second), refused("DescribeInstances", 1, 10*time.Second)),
		within: 4 * time.Minute, counts: 2, tells: "about 1000 instances",
	},
	"many, by shared limits": {
		others: 999, faults: []ec2test.Fault{refused("CreateVolume", 1, 4*time.Minute)}, within: 16 * time.Minute, counts: 1,
		tells: "about 1000 instances",
	},
	"more than a page": {
		others: 1499, faults: lists(10 * time.Second), within: 6 * time.Minute, counts: 2, samples: 1, tells: "about 15",
	},
	"an old instance": {
		others: 999, aged: 2 * time.Hour, faults: lists(10 * time.Second), within: 25 * time.Second, tells: "EC2 throttles DescribeVolumes; ",
	},
	"many, the second run": { // it keeps its slot
		others: 2499, aged: 11 * time.Minute, faults: lists(10 * time.Second), within: 3 * time.Minute, counts: 2, samples: 1,
		tells: "about 25",
	},
	"others launched long before": {
		aged: 10 * time.Minute, faults: lists(10 * time.Second), within: 25 * time.Second, counts: 1, tells: "EC2 throttles DescribeVolumes; ",
	},
	"counting is not allowed": {
		others: 999, deny: "DescribeInstances", faults: lists(10 * time.Second), within: 30 * time.Second, counts: 1,
		tells: "counting the instances launched from ami-", notes: "the number of instances being launched is unknown",
	},
	"counting fails": {
		others: 999, faults: append(lists(10*time.Second), refused("DescribeInstances", 1, forever)), timeout: 2 * time.Minute, counts: 2,
		tells: "counting the instances launched from ami-", notes: "the number of instances being launched is unknown",
	},
	"a slot after the deadline": {
		others: 999, faults: lists(10 * time.Second), timeout: time.Minute, within: time.Minute, counts: 1, tells: ", after its deadline",
	},
	"throttled until the deadline": {
		others: 999, faults: []ec2test.Fault{refused("CreateVolume", 1, forever)}, timeout: time.Minute, counts: 1,
		tells: ", after its deadline", exitCode: failure.ExitTemporary, fails: "CreateVolume",
	},
}

// TestCohort: what a throttled launch does, by how many were launched with it.
func TestCohort(t *testing.T) {
	for name, tc := range cohortCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := ec2test.Options{Latency: ec2test.Realistic, Seed: 1, Faults: tc.faults}
				if tc.deny != "" {
					opts.Deny = []string{tc.deny}
				}
				cloud := agenttest.New(t, opts)
				cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
				web := cloud.Start("web-0")
				for n := range tc.others {
					cloud.LaunchWith(fmt.Sprintf("web-%d", n+1), ec2test.LaunchOptions{Image: tc.image})
				}
				time.Sleep(tc.aged)
				cfg := config.DefaultConfig()
				cfg.Timeout = max(tc.timeout, time.Minute)
				if tc.timeout == 0 {
					cfg.Timeout = time.Hour
				}
				start := time.Now()
				result, err := web.Agent().Up(t.Context(), cfg)
				if code := failure.ExitCode(err); code != tc.exitCode || err != nil && !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("exit code %d (%v), want %d about %q", code, err, tc.exitCode, tc.fails)
				}
				if took := time.Since(start); took > tc.within && tc.within != 0 {
					t.Errorf("took %s, want at most %s", took, tc.within)
				}
				counts, samples := counted(cloud.Calls())
				if counts != tc.counts || samples != tc.samples {
					t.Errorf("it counts %d times, of which %d a part; want %d and %d", counts, samples, tc.counts, tc.samples)
				}
				told := func(phase report.Phase) (all []string) {
					for _, e := range web.Events() {
						if e.Phase == phase {
							all = append(all, e.Detail)
						}
					}
					return all
				}
				has := func(all []string, what string) bool {
					return slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, what) })
				}
				waits := told(report.Waiting)
				if !has(waits, tc.tells) && tc.tells != "" || !strings.Contains(tc.tells, "about ") && !strings.Contains(tc.tells, "deadline") && has(waits, "instances are being launched") {
					t.Errorf("it tells %q, want %q", waits, tc.tells)
				}
				if notes := told(report.Noted); tc.notes == "" && len(notes) > 0 || tc.notes != "" && (len(notes) != 1 || !has(notes, tc.notes)) {
					t.Errorf("its notes are %q, want %q", notes, tc.notes)
				}
				if err == nil && web.MountedAt("/cp") != result.Sources[0].Volume {
					t.Error("the source is not mounted")
				}
			})
		})
	}
}

// counted says how often launches were counted, and of these how often only a part.
func counted(calls []ec2test.Call) (counts, samples int) {
	for _, c := range calls {
		if c.Action == "DescribeInstances" && c.Params["Filter.1.Name"] == "launch-time" {
			counts++
			if c.Params["Filter.4.Name"] == "private-ip-address" {
				samples++
			}
		}
	}
	return counts, samples
}

// TestChanceRefusal: one throttled call costs a launch little, whoever is launched at the
// same time from another image.
func TestChanceRefusal(t *testing.T) {
	const (
		seeds         = 50
		mean, longest = 8 * time.Second, 15 * time.Second // later than without the refusal
	)
	took := func(t *testing.T, seed uint64, bystanders int, faults ...ec2test.Fault) (d time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed, Faults: faults})
			cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
			web := cloud.Start("web-0")
			for n := range bystanders {
				cloud.LaunchWith(fmt.Sprintf("other-%d", n), ec2test.LaunchOptions{Image: "ami-0123456789abcdef0"})
			}
			cfg := config.DefaultConfig()
			cfg.Timeout = time.Hour
			start := time.Now()
			if _, err := web.Agent().Up(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			d = time.Since(start)
		})
		return d
	}
	alone := make([]time.Duration, seeds)
	for seed := range alone {
		alone[seed] = took(t, uint64(seed+1), 0)
	}
	for _, bystanders := range []int{0, 200, 999} {
		for _, action := range []string{"DescribeVolumes", "DescribeSnapshots", "CreateVolume"} {
			t.Run(fmt.Sprintf("%d/%s", bystanders, action), func(t *testing.T) {
				var total, worst time.Duration
				for seed := range alone {
					later := took(t, uint64(seed+1), bystanders, refused(action, 1, 0)) - alone[seed]
					total, worst = total+later, max(worst, later)
				}
				t.Logf("later by %.1f s (mean), %.1f s (worst)", (total / seeds).Seconds(), worst.Seconds())
				if total/seeds > mean || worst > longest {
					t.Errorf("want at most %s and %s", mean, longest)
				}
			})
		}
	}
}
