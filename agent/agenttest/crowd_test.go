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

// refused is a fault: EC2 refuses a call for its rate.
func refused(action string, nth int, d time.Duration) ec2test.Fault {
	return ec2test.Fault{Effect: ec2test.Fail, Action: action, Nth: nth, For: d, Code: "RequestLimitExceeded"}
}

// TestCrowd: what a launch does that is refused calls, by how many were launched with it.
func TestCrowd(t *testing.T) {
	const forever = 24 * time.Hour
	for name, tc := range map[string]struct {
		others   int // launched at the same time; they make no calls
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
		"alone, not refused": {within: 7 * time.Second},
		"many, not refused":  {others: 500, within: 7 * time.Second},
		"alone, refused": {
			faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 20 * time.Second, counts: 1,
		},
		"alone, snapshots refused": {
			faults: []ec2test.Fault{refused("DescribeSnapshots", 1, 0)}, within: 20 * time.Second, counts: 1,
		},
		"alone, both refused": {
			faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0), refused("DescribeSnapshots", 1, 0)}, within: 20 * time.Second, counts: 1,
		},
		"alone, CreateVolume refused": {
			faults: []ec2test.Fault{refused("CreateVolume", 1, 0)}, within: 20 * time.Second, counts: 1,
		},
		"alone, CreateVolume refused ten times": {
			faults: []ec2test.Fault{refused("CreateVolume", 1, 10*time.Second)}, within: time.Minute, counts: 1,
		},
		"refused once the volume is made": {
			faults: []ec2test.Fault{refused("AttachVolume", 1, 0)}, within: 12 * time.Second,
		},
		"many": {
			others: 999, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 4 * time.Minute, counts: 1,
			tells: "1000 instances are being launched; EC2's limits let this one create its volume in ",
		},
		"many, counting is refused": {
			others: 999, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0), refused("DescribeInstances", 1, 10*time.Second)},
			within: 4 * time.Minute, counts: 2, tells: "1000 instances",
		},
		"many, by shared limits": {
			others: 999, faults: []ec2test.Fault{refused("CreateVolume", 1, 4*time.Minute)}, within: 15 * time.Minute, counts: 1,
			tells: "1000 instances",
		},
		"more than a page": {
			others: 1499, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 6 * time.Minute, counts: 2, samples: 1,
			tells: "about 15",
		},
		"an old instance": {
			others: 999, aged: 2 * time.Hour, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 12 * time.Second,
		},
		"many, the second run": {
			others: 2499, aged: 11 * time.Minute, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 4 * time.Minute,
			counts: 2, samples: 1, tells: "about 25", // its turn was over: it is one of the half that goes behind the others
		},
		"others launched long before": {
			aged: 10 * time.Minute, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 20 * time.Second, counts: 1,
		},
		"counting is not allowed": {
			others: 999, deny: "DescribeInstances", faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, within: 30 * time.Second, counts: 1,
			notes: "how many instances are being launched is not known",
		},
		"counting fails": {
			others: 999, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0), refused("DescribeInstances", 1, forever)},
			timeout: time.Minute, notes: "how many instances are being launched is not known", counts: 2,
		},
		"a turn after the deadline": {
			others: 999, faults: []ec2test.Fault{refused("DescribeVolumes", 1, 0)}, timeout: time.Minute, within: time.Minute, counts: 1,
			tells: "when its time is over",
		},
		"refused until the deadline": {
			others: 999, faults: []ec2test.Fault{refused("CreateVolume", 1, forever)}, timeout: time.Minute, counts: 1,
			tells: "when its time is over", exitCode: failure.ExitTemporary, fails: "CreateVolume",
		},
	} {
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
					cloud.Launch(fmt.Sprintf("web-%d", n+1))
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
				counts, samples := 0, 0
				for _, c := range cloud.Calls() {
					if c.Action == "DescribeInstances" && c.Params["Filter.1.Name"] == "launch-time" {
						counts++
						if c.Params["Filter.3.Name"] == "private-ip-address" {
							samples++
						}
					}
				}
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
				if !has(waits, tc.tells) && tc.tells != "" || tc.tells == "" && has(waits, "instances are being launched") {
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
