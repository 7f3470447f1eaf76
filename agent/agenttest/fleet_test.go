package agenttest_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

const (
	// fleetSizes, a list of numbers, says how many instances are launched together.
	fleetSizes = "FLEET"
	// fleetPlot, a file, takes the results as a drawing.
	fleetPlot = "FLEET_SVG"
)

// fleet is how a launch of many instances went.
type fleet struct {
	size                int
	throttle            ec2test.Throttle
	first, median, last time.Duration // until the Source is mounted
	up                  time.Duration // until the last run is over
	bound               time.Duration // the least that EC2 allows for last
	calls, throttled    map[string]int
	failed, leaked      int
}

// ratio is how much longer than necessary it took.
func (f fleet) ratio() float64 { return f.last.Seconds() / f.bound.Seconds() }

func (f fleet) each(calls map[string]int) float64 {
	total := 0
	for _, n := range calls {
		total += n
	}
	return float64(total) / float64(f.size)
}

// most is what a fleet may take: of the bound, and of refused calls for each instance.
func (f fleet) most() (ratio, throttled float64) {
	switch {
	case f.throttle == ec2test.SharedMutations && f.size > 200:
		return 1.15, 15
	case f.throttle == ec2test.SharedMutations && f.size > 10:
		return 1.4, 12
	case f.size <= 100:
		return 1.15, 3
	case f.size <= 1000:
		return 1.08, 6
	}
	return 1.20, 8
}

// kinds are the ways in which EC2 may limit calls, with the sizes that they are tried with
// if none are given.
var kinds = []struct {
	name     string
	throttle ec2test.Throttle
	sizes    string
	largest  int // of the sizes that are given: what takes hours shows nothing new
}{
	{"per action", ec2test.PerAction, "10,100", 20000},
	{"shared", ec2test.SharedMutations, "10,200", 1000},
}

// TestFleet launches many instances at the same moment, by the virtual clock: EC2's limits
// for the account are what they wait for. All must come up, with one volume each, in
// little more than the time that the limits allow, and with few calls in vain.
func TestFleet(t *testing.T) {
	var fleets []fleet
	for _, kind := range kinds {
		for text := range strings.SplitSeq(cmp.Or(os.Getenv(fleetSizes), kind.sizes), ",") {
			size, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if size > kind.largest {
				continue
			}
			t.Run(kind.name+"/"+text, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := launchFleet(t, size, kind.throttle)
					fleets = append(fleets, f)
					t.Logf("%s", f)
					ratio, throttled := f.most()
					if f.ratio() > ratio {
						t.Errorf("the last is mounted after %s, want at most %.2f of %s", f.last, ratio, f.bound)
					}
					if got := f.each(f.throttled); got > throttled {
						t.Errorf("%.1f calls of each are refused, want at most %.1f", got, throttled)
					}
					if f.failed != 0 || f.leaked != 0 {
						t.Errorf("%d failed, %d volumes leaked", f.failed, f.leaked)
					}
				})
			})
		}
	}
	if file := os.Getenv(fleetPlot); file != "" {
		if err := os.WriteFile(file, plotFleets(fleets), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func (f fleet) String() string {
	list := func(calls map[string]int) string {
		var parts []string
		for _, action := range slices.Sorted(maps.Keys(calls)) {
			parts = append(parts, fmt.Sprintf("%s %.2f", action, float64(calls[action])/float64(f.size)))
		}
		return fmt.Sprintf("%.1f (%s)", f.each(calls), strings.Join(parts, ", "))
	}
	return fmt.Sprintf("%d instances: mounted after %.1f s (first), %.1f s (median), %.1f s (last); bound %.1f s, last/bound %.2f; the last run over after %.1f s, %.2f of the bound\n"+
		"calls each: %s\nthrottled each: %s\n%d failed, %d volumes leaked",
		f.size, f.first.Seconds(), f.median.Seconds(), f.last.Seconds(), f.bound.Seconds(), f.ratio(), f.up.Seconds(), f.up.Seconds()/f.bound.Seconds(),
		list(f.calls), list(f.throttled), f.failed, f.leaked)
}

func launchFleet(t *testing.T, size int, throttle ec2test.Throttle) fleet {
	cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1, Throttle: throttle})
	cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	var machines []*agenttest.Machine
	for n := range size {
		machines = append(machines, cloud.Start(fmt.Sprintf("web-%d", n)))
	}
	cfg := config.DefaultConfig()
	cfg.Timeout = 2 * time.Hour
	cfg.Roles.Roles = []string{"app"}
	f := fleet{size: size, throttle: throttle, calls: map[string]int{}, throttled: map[string]int{}}
	f.launch(t, machines, cfg, func(*agenttest.Machine, report.Report) error { return nil })
	used := map[string]bool{}
	var slowest time.Duration
	for _, v := range cloud.World().Volumes {
		if v.Tags["snapsource:source"] == "" {
			continue
		}
		if a := v.Attachment; a == nil || v.State(time.Now()) != "in-use" || !a.DeleteOnTermination || used[a.InstanceID] {
			f.leaked++
			continue
		}
		used[v.Attachment.InstanceID] = true
		slowest = max(slowest, v.Available.Sub(v.Created)+v.Attachment.Attached.Sub(v.Attachment.Asked))
	}
	f.count(cloud)
	f.bound = max(bound(size, throttle), slowest+launchCalls*callTakes)
	return f
}

// launch runs up on all machines at the same moment. check is called for each that has succeeded.
func (f *fleet) launch(t *testing.T, machines []*agenttest.Machine, cfg config.Config, check func(*agenttest.Machine, report.Report) error) {
	start := time.Now()
	mounted, errs := make([]time.Duration, f.size), make([]error, f.size)
	var all sync.WaitGroup
	for n, m := range machines {
		all.Go(func() {
			result, err := m.Agent().Up(t.Context(), cfg)
			if err == nil {
				err = check(m, result)
			}
			errs[n] = err
			for _, e := range m.Events() {
				if e.Step == report.Mount && e.Phase == report.Done {
					mounted[n] = e.At.Sub(start)
				}
			}
		})
	}
	all.Wait()
	f.up = time.Since(start)
	for n, err := range errs {
		if err != nil {
			f.failed++
			t.Errorf("%s: %v", machines[n].ID, err)
		}
	}
	slices.Sort(mounted)
	f.first, f.median, f.last = mounted[0], mounted[f.size/2], mounted[f.size-1]
}

// count counts the calls, and those that were refused.
func (f fleet) count(cloud *agenttest.Cloud) {
	for _, c := range cloud.Calls() {
		f.calls[c.Action]++
		if c.Result == "RequestLimitExceeded" {
			f.throttled[c.Action]++
		}
	}
}

const (
	// launchCalls are those that follow each other until a launch is mounted: lists,
	// CreateVolume, a look, AttachVolume, a look.
	launchCalls = 5
	callTakes   = 80 * time.Millisecond // 40 to 120 ms
)

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
