package agenttest_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"snapsource/agent"
	"snapsource/agent/agenttest"
	"snapsource/ec2ops/ec2test"
)

// fleetSizes, a list of numbers, says how many instances are launched together.
const fleetSizes = "FLEET"

// fleet is how a launch of many instances went.
type fleet struct {
	size                int
	first, median, last time.Duration // until mounted
	calls               map[string]int
	throttled           int
	bound               time.Duration // what the buckets allow
}

// TestFleet launches many instances at the same moment, by the virtual clock: EC2's limits
// for the account are what they wait for. All must come up, with one volume each.
func TestFleet(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "instances\tbuckets\tfirst\tmedian\tlast\tbound\tlast/bound\tcalls each\tthrottled each\t")
	for _, throttle := range []ec2test.Throttle{ec2test.PerAction, ec2test.SharedMutations} {
		for text := range strings.SplitSeq(cmp.Or(os.Getenv(fleetSizes), "10,100"), ",") {
			size, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				f := launchFleet(t, size, throttle)
				total := 0
				for _, n := range f.calls {
					total += n
				}
				fmt.Fprintf(w, "%d\t%s\t%.0f s\t%.0f s\t%.0f s\t%.0f s\t%.2f\t%.1f\t%.1f\t\n", size,
					map[ec2test.Throttle]string{ec2test.PerAction: "per action", ec2test.SharedMutations: "shared"}[throttle],
					f.first.Seconds(), f.median.Seconds(), f.last.Seconds(), f.bound.Seconds(), f.last.Seconds()/f.bound.Seconds(),
					float64(total)/float64(size), float64(f.throttled)/float64(size))
			})
		}
	}
	w.Flush()
	t.Logf("\n%s", &table)
}

func launchFleet(t *testing.T, size int, throttle ec2test.Throttle) fleet {
	cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1, Throttle: throttle})
	cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	var machines []*agenttest.Machine
	for n := range size {
		machines = append(machines, cloud.Start(fmt.Sprintf("web-%d", n)))
	}
	cfg := agent.DefaultConfig()
	cfg.Timeout = time.Hour
	cfg.Roles.Roles = []string{"app"}
	start := time.Now()
	took := make([]time.Duration, size)
	var all sync.WaitGroup
	for n, m := range machines {
		all.Go(func() {
			if _, err := m.Agent().Up(t.Context(), cfg); err != nil {
				t.Errorf("%s: %v", m.ID, err)
			}
			took[n] = time.Since(start)
		})
	}
	all.Wait()
	slices.Sort(took)
	f := fleet{size: size, first: took[0], median: took[size/2], last: took[size-1], calls: map[string]int{}}
	volumes := 0
	for _, v := range cloud.World().Volumes {
		if v.Tags["snapsource:source"] != "" && v.State(time.Now()) == "in-use" {
			volumes++
		}
	}
	if volumes != size {
		t.Errorf("%d instances have %d volumes", size, volumes)
	}
	for _, c := range cloud.Calls() {
		f.calls[c.Action]++
		if c.Result == "RequestLimitExceeded" {
			f.throttled++
		}
	}
	f.bound = bound(size, throttle)
	return f
}

// bound is the least time in which a fleet can be mounted: that of the scarcest bucket
// for one call per instance, and a launch that waits for nothing.
func bound(size int, throttle ec2test.Throttle) time.Duration {
	const alone = 4 * time.Second // create 1.5 s, attach 1.5 s, calls
	calls, burst := 1, 50.0       // AttachVolume
	if throttle == ec2test.SharedMutations {
		calls = 4 // CreateVolume, AttachVolume, ModifyInstanceAttribute, CreateTags
	}
	return alone + time.Duration(max(0, float64(calls*size)-burst)/5*float64(time.Second))
}
