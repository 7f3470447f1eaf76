package agenttest_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"

	"snapsource/agent"
	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// launched is a launch with roles, its report with its calls.
func launched(t *testing.T, o ec2test.Options) (result *report.Source, calls map[string]int, tags ec2test.Tags) {
	t.Helper()
	cloud := agenttest.New(t, o)
	cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	web := cloud.Start("web-1")
	var mu sync.Mutex
	var told []ec2ops.Call
	client, err := ec2ops.New(t.Context(), ec2ops.Options{Dial: web.Dial, OnCall: func(c ec2ops.Call) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.DefaultConfig()
	cfg.Roles.Roles, cfg.Roles.Stages, cfg.Roles.Project = []string{"app"}, []string{"production"}, "codepen"
	a := &agent.Agent{Cloud: agent.NewCloud(client), Host: agenttest.HostOf(web), Events: func(report.Event) {}}
	all, err := a.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	all.AddCalls(told)
	calls = map[string]int{}
	for _, c := range cloud.Calls() {
		calls[c.Action]++
	}
	return all.Sources[0], calls, cloud.World().Instances[web.ID].Tags
}

// TestCallsOfALaunch: the calls that a launch makes, each once, besides its looks at the
// new volume. The second DescribeSnapshots is the one that finds a release which has
// appeared meanwhile; EC2 is asked for the instance's tags only where its metadata service
// does not show them.
func TestCallsOfALaunch(t *testing.T) {
	for _, inMetadata := range []bool{true, false} {
		t.Run(fmt.Sprintf("tags in metadata %v", inMetadata), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, calls, tags := launched(t, ec2test.Options{Metadata: ec2test.Metadata{Tags: inMetadata}})
				want := map[string]int{
					"DescribeSnapshots": 2, "CreateVolume": 1, "AttachVolume": 1, "ModifyInstanceAttribute": 1, "CreateTags": 1,
					"DescribeVolumes": 3, // its volumes, the new one once available, and once attached: EC2 takes no time here
				}
				if !inMetadata {
					want["DescribeInstances"] = 1
				}
				if !maps.Equal(calls, want) {
					t.Errorf("calls %v, want %v", calls, want)
				}
				if tags["Roles"] != "app" || tags["Stages"] != "production" || tags["Project"] != "codepen" {
					t.Errorf("tags %v", tags)
				}
			})
		})
	}
}

// TestOwnTimeOfALaunch: by the virtual clock, which stands still while the program is at
// work, all of a launch's time is told of as calls and waits. One that is not would count
// as its own.
func TestOwnTimeOfALaunch(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			r, _, _ := launched(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed + 1})
			if r.Own != 0 || len(r.Calls) < 8 || len(r.Waits) < 4 {
				t.Errorf("seed %d: %s for itself of %s, %d calls, %d waits", seed+1, r.Own, r.Took, len(r.Calls), len(r.Waits))
			}
		})
	}
}
