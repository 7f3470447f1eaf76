package agenttest_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// publishTemplate adds a launch template that names a release, as the command publish makes it.
func publishTemplate(cloud *agenttest.Cloud, template, snapshot string) {
	cloud.AddTemplate(template, ec2test.TemplateData{
		ImageID:  "ami-0123456789abcdef0",
		Mappings: []ec2test.TemplateMapping{{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{SnapshotID: snapshot, Type: "gp3"}}},
		TagSpecs: []ec2test.TemplateTags{{ResourceType: "volume", Tags: ec2test.Tags{"Name": "codepen-app", "snapsource:source": "codepen-app", "snapsource:snapshot": snapshot}}},
	})
}

// ended returns when a step of a source ended, since the run began.
func ended(t *testing.T, s *report.Source, step report.Step) time.Duration {
	t.Helper()
	i := slices.IndexFunc(s.Steps, func(f report.FinishedStep) bool { return f.Step == step })
	if i < 0 {
		t.Fatalf("no step %s: %+v", step, s.Steps)
	}
	return s.Steps[i].Start + s.Steps[i].Took
}

// least is how long each call to EC2 takes at least, with realistic durations.
const least = 40 * time.Millisecond

// TestTakeOver: a volume that came with the launch is mounted after one call; where the NVMe
// controllers say EC2's device names, before EC2 has answered anything.
func TestTakeOver(t *testing.T) {
	for _, vendorBytes := range []bool{false, true} {
		t.Run(fmt.Sprint("vendor bytes ", vendorBytes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
				snapshot := cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
				publishTemplate(cloud, "web", snapshot)
				web := cloud.StartFrom("web", "web-1")
				web.VendorBytes = vendorBytes
				result, err := web.Agent().Up(t.Context(), config.DefaultConfig())
				if err != nil {
					t.Fatal(err)
				}
				s := result.Sources[0]
				if s.Snapshot != snapshot || web.MountedAt("/cp") != s.Volume || web.MountedAt("/home/deploy/codepen") != s.Volume {
					t.Errorf("ready with %s from %s; mounted: %s", s.Volume, s.Snapshot, web.MountedAt("/cp"))
				}
				got, want := map[string]int{}, map[string]int{"DescribeVolumes": 1, "DescribeSnapshots": 1, "CreateTags": 1}
				for _, c := range cloud.Calls() {
					got[c.Action]++
				}
				if !maps.Equal(got, want) {
					t.Errorf("calls %v, want %v", got, want)
				}
				mounted := ended(t, s, report.Mount)
				t.Logf("mounted after %s, ready after %s", mounted, s.Took)
				if vendorBytes && (mounted >= least || mounted > ended(t, s, report.Survey)) {
					t.Errorf("mounted after %s, want before EC2 can have answered anything", mounted)
				}
				if !vendorBytes && (mounted > 200*time.Millisecond || mounted < least) {
					t.Errorf("mounted after %s: a call takes 120 ms at most, and without proof EC2 is asked first", mounted)
				}
			})
		})
	}
}
