package agenttest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// launches is how many launches the pace is measured over.
const launches = 300

// TestPace measures, by the virtual clock, how long launches go on waiting for what is
// there already: the volume that is available, the device that is plugged in. What one
// call takes, 40 to 120 ms, is among the first, as EC2 does not tell by itself.
func TestPace(t *testing.T) {
	var volume, device []time.Duration
	var polls []int
	for seed := range uint64(launches) {
		synctest.Test(t, func(t *testing.T) {
			cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed + 1})
			cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
			web := cloud.Start("web-1")
			result, err := web.Agent().Up(t.Context(), config.DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			r := result.Sources[0]
			over := map[report.Step]time.Time{}
			for _, s := range r.Steps {
				over[s.Step] = r.Began.Add(s.Start + s.Took)
			}
			v := cloud.World().Volumes[r.Volume]
			volume = append(volume, over[report.Create].Sub(v.Available))
			device = append(device, over[report.Attach].Sub(v.Attachment.Plugged))
			n := 0
			for _, c := range cloud.Calls() {
				if c.Action == "DescribeVolumes" && c.Params["VolumeId.1"] == v.ID && !c.Time.After(over[report.Create]) {
					n++
				}
			}
			polls = append(polls, n)
		})
	}
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2].Round(time.Millisecond)
	}
	slices.Sort(polls)
	t.Logf("of %d launches: waited for an available volume %s (median), with %d looks at it (median), %d (most); for a device that is there %s (median)",
		launches, median(volume), polls[len(polls)/2], polls[len(polls)-1], median(device))
	if polls[len(polls)/2] > 3 {
		t.Errorf("a volume is looked at %d times (median), want at most 3", polls[len(polls)/2])
	}
}
