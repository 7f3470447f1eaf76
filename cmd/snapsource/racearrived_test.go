//go:build linux && bench

package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// raceTemplate is the launch template whose block device mapping names the release.
const raceTemplate = "race"

// TestRaceArrived launches instances whose volume came with them, and ones with three sources, against
// launches that create their volume, and the floor of these. Each launch starts with a copy of the same state: the
// more instances a state has had, the longer each request takes in the sandbox.
func TestRaceArrived(t *testing.T) {
	r := newRace(t)
	three := filepath.Join(r.bin, "three.yaml")
	r.prepareArrived()
	r.prepareThree(three)
	competitors := []*competitor{
		r.ourselves(),
		{name: "floor", command: []string{"floor", r.dir}, size: "-"},
		{name: "snapsource up, arrived", command: theProgram, flags: []string{"--launch-template", raceTemplate}, size: "the same"},
		{name: "snapsource up, three sources", command: append(slices.Clone(theProgram), "--config", three), size: "the same"},
	}
	r.keep()
	rounds := raceRoundsWanted(t)
	r.launchAll(rounds, func(int) []*competitor { return competitors })
	t.Logf("%d rounds, %d processors, %s\n%s%s", rounds, runtime.NumCPU(), runtime.Version(), results(competitors), arrived(competitors))
}

// keep makes a copy of the state, to which the launches start.
func (r *race) keep() {
	r.t.Helper()
	r.base = filepath.Join(r.t.TempDir(), "base")
	r.copyState(r.dir, r.base)
}

// reset replaces the state by the copy.
func (r *race) reset() {
	if r.base == "" {
		return
	}
	r.t.Helper()
	if err := os.RemoveAll(r.dir); err != nil {
		r.t.Fatal(err)
	}
	r.copyState(r.base, r.dir)
}

func (r *race) copyState(from, to string) {
	r.t.Helper()
	if out, err := exec.CommandContext(r.t.Context(), "cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		r.t.Fatalf("copy the state: %v\n%s", err, out)
	}
}

// prepareArrived makes the launch template.
func (r *race) prepareArrived() {
	r.t.Helper()
	r.run("operator", `set -e
snap=$(aws ec2 describe-snapshots --owner-ids self --filters Name=tag:Name,Values=codepen-app --query 'Snapshots[0].SnapshotId' --output text)
tags='[{"Key":"Name","Value":"codepen-app"},{"Key":"snapsource:source","Value":"codepen-app"},{"Key":"snapsource:snapshot","Value":"'$snap'"}]'
aws ec2 create-launch-template --launch-template-name `+raceTemplate+` --launch-template-data '{"ImageId":"ami-0123456789abcdef0","InstanceType":"m5.large",
 "BlockDeviceMappings":[{"DeviceName":"/dev/sdf","Ebs":{"SnapshotId":"'$snap'","VolumeType":"gp3","DeleteOnTermination":true}}],
 "TagSpecifications":[{"ResourceType":"volume","Tags":'$tags'}]}' >/dev/null`)
}

// prepareThree takes a snapshot of each of two further sources, and writes the configuration file of
// the three.
func (r *race) prepareThree(config string) {
	r.t.Helper()
	file := "sources:\n  - source: codepen-app\n"
	for n, source := range []string{"assets", "search"} {
		device, mount := "/dev/sd"+string(rune('g'+n)), "/srv/"+source
		r.run("first-"+source, fmt.Sprintf(`set -e
snapsource init --source %[1]s --device %[2]s --mount %[3]s --bind data:%[3]s-data
snapsource snapshot --source %[1]s --wait`, source, device, mount))
		file += fmt.Sprintf("  - source: %s\n    device: %s\n    mount: %s\n    binds: [\"data:%s-data\"]\n", source, device, mount, mount)
	}
	if err := os.WriteFile(config, []byte(file), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// arrived says how a volume that came with the launch compares with a call to EC2, and with the launches
// that create their volumes; and what three sources take.
func arrived(competitors []*competitor) string {
	var text strings.Builder
	us, floor, with, three := competitors[0], competitors[1], competitors[2], competitors[3]
	median := func(c *competitor, get func(lap) time.Duration) time.Duration {
		return quantile(each(c.laps, get), 0.5)
	}
	readable := func(l lap) time.Duration { return l.Readable }
	var beyond []time.Duration // of the call that the mount waits for
	counts := map[string]int{}
	for _, l := range with.laps {
		for _, c := range l.report.Calls {
			if c.Service == "ec2" {
				counts[c.Action]++
			}
			if c.Action == "DescribeVolumes" {
				beyond = append(beyond, l.Readable-c.Took)
			}
		}
	}
	took := median(with, readable)
	fmt.Fprintf(&text, "%s:\n  readable %s after the start: the one call that it waits for and %s (%s)\n", with.name, span(took), span(quantile(beyond, 0.5)), span(quantile(beyond, 0.9)))
	fmt.Fprintf(&text, "  %.1f times sooner than %s, %.1f times sooner than the floor\n",
		median(us, readable).Seconds()/took.Seconds(), us.name, median(floor, readable).Seconds()/took.Seconds())
	for _, action := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&text, "  %s: %.1f each\n", action, float64(counts[action])/float64(len(with.laps)))
	}
	ended := func(l lap) time.Duration { return l.Ended }
	fmt.Fprintf(&text, "%s: ended after %.2f times what one takes\n", three.name, median(three, ended).Seconds()/median(us, ended).Seconds())
	return text.String()
}
