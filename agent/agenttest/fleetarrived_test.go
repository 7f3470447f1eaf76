package agenttest_test

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// TestFleetArrived launches many instances at the same moment from a launch template that names the
// newest release. They describe and tag, so that the limits of these calls are what they wait for;
// where the NVMe controllers say EC2's device names, nothing waits until it is mounted.
func TestFleetArrived(t *testing.T) {
	sizes := "10,200"
	if raceDetector {
		sizes = "10" // most of a larger one is the SDK's
	}
	for text := range strings.SplitSeq(cmp.Or(os.Getenv(fleetSizes), sizes), ",") {
		size, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, roles := range []bool{false, true} {
			name := text
			if roles {
				name += ", with roles"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := launchArrived(t, size, roles)
					t.Logf("%s", f)
					if limit := 15 * time.Second; f.last > limit {
						t.Errorf("the last is mounted after %s, want at most %s", f.last, limit)
					}
					most := 1.15
					if size <= 200 {
						most = 1.25 // what the first retries take weighs more
					}
					if ratio := f.up.Seconds() / f.bound.Seconds(); ratio > most {
						t.Errorf("the last is announced after %s, want at most %.2f of %s", f.up, most, f.bound)
					}
					if f.failed != 0 || f.leaked != 0 {
						t.Errorf("%d failed, %d volumes leaked", f.failed, f.leaked)
					}
				})
			})
		}
	}
}

// arrivedBound is the least time in which the scarcest bucket of a launch's calls allows them:
// CreateTags, 100 tokens and 10 a second, of which it makes one, with roles two. The buckets of the
// Describe calls allow twice as many.
func arrivedBound(size int, roles bool) time.Duration {
	const alone = 500 * time.Millisecond // three or four calls
	calls := 1.0
	if roles {
		calls = 2
	}
	return alone + time.Duration(max(0, calls*float64(size)-100)/10*float64(time.Second))
}

func launchArrived(t *testing.T, size int, roles bool) fleet {
	cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1, Throttle: ec2test.PerAction})
	snapshot := cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	publishTemplate(cloud, "web", snapshot)
	var machines []*agenttest.Machine
	for n := range size {
		m := cloud.StartFrom("web", fmt.Sprintf("web-%d", n))
		m.VendorBytes = true
		machines = append(machines, m)
	}
	cfg := config.DefaultConfig()
	cfg.Timeout = 2 * time.Hour
	if roles {
		cfg.Roles.Roles = []string{"app"}
	}
	f := fleet{size: size, throttle: ec2test.PerAction, calls: map[string]int{}, throttled: map[string]int{}, bound: arrivedBound(size, roles)}
	f.launch(t, machines, cfg, func(m *agenttest.Machine, result report.Report) error {
		if s := result.Sources[0]; s.Snapshot != snapshot || m.MountedAt("/cp") != s.Volume {
			return fmt.Errorf("ready from %s, not from %s", s.Snapshot, snapshot)
		}
		return nil
	})
	sources := 0
	for _, v := range cloud.World().Volumes {
		if v.Root {
			continue
		}
		sources++
		if a := v.Attachment; a == nil || !a.DeleteOnTermination || v.Tags["snapsource:instance"] != a.InstanceID {
			f.leaked++
		}
	}
	f.leaked += max(0, sources-size)
	f.count(cloud)
	return f
}
