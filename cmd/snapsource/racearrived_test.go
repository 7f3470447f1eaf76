//go:build linux && bench

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// raceTemplate is the launch template whose block device mapping names the release.
const raceTemplate = "race"

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

// prepareThree takes a snapshot of each of two further sources, and writes the configuration file.
func (r *race) prepareThree() {
	r.t.Helper()
	file := "sources:\n  - source: codepen-app\n"
	for n, source := range []string{"assets", "search"} {
		device, mount := "/dev/sd"+string(rune('g'+n)), "/srv/"+source
		r.run("first-"+source, fmt.Sprintf(`set -e
snapsource init --source %[1]s --device %[2]s --mount %[3]s --bind data:%[3]s-data
snapsource snapshot --source %[1]s --wait`, source, device, mount))
		file += fmt.Sprintf("  - source: %s\n    device: %s\n    mount: %s\n    binds: [\"data:%s-data\"]\n", source, device, mount, mount)
	}
	if err := os.WriteFile(r.three, []byte(file), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// arrived prints how a volume that came with the launch compares with a call to EC2, and with the
// launches that create their volumes.
func arrived(table io.Writer, competitors []*competitor) {
	us, floor, with, three := competitors[0], competitors[1], competitors[2], competitors[3]
	readable := func(l lap) time.Duration { return l.Readable }
	var calls []time.Duration
	for _, l := range with.laps {
		for _, c := range l.report.Calls {
			if c.Service == "ec2" {
				calls = append(calls, c.Took)
			}
		}
	}
	n := len(with.laps)
	median := quantile(each(with.laps, readable), 0.5)
	fmt.Fprintf(table, "%s:\n  readable %s after the start, %s more than one call to EC2 (median %s)\n", with.name, span(median), span(median-quantile(calls, 0.5)), span(quantile(calls, 0.5)))
	fmt.Fprintf(table, "  %.1f times sooner than %s, %.1f times sooner than the floor\n",
		quantile(each(us.laps[:n], readable), 0.5).Seconds()/median.Seconds(), us.name, quantile(each(floor.laps[:n], readable), 0.5).Seconds()/median.Seconds())
	counts := map[string]int{}
	for _, c := range with.laps[0].report.Calls {
		if c.Service == "ec2" {
			counts[c.Action]++
		}
	}
	fmt.Fprintf(table, "  its calls: %s\n", strings.TrimPrefix(fmt.Sprint(counts), "map"))
	ended := func(l lap) time.Duration { return l.Ended }
	fmt.Fprintf(table, "%s: ended after %.2f times what one takes\n", three.name, quantile(each(three.laps, ended), 0.5).Seconds()/quantile(each(us.laps[:len(three.laps)], ended), 0.5).Seconds())
}
