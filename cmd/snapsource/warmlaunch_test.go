//go:build linux && bench

package main

import (
	"fmt"
	"testing"
	"time"

	"snapsource/agent/report"
)

// launchRounds is the number of alternating rounds.
const launchRounds = 10

// smallRelease is the size of a release of which only the launch matters, and of its working set.
const smallRelease, smallWorking = 128, 64

// TestWarmLaunch: a launch takes no longer because the hot set is read after it.
func TestWarmLaunch(t *testing.T) {
	r := newWarmRace(t, smallRelease, smallWorking, "echo 'release 1' >RELEASE", "")
	var all [2][]time.Duration // with --warm none and --warm hot
	var ratios []time.Duration // of a round, in thousandths
	for round := range launchRounds {
		r.seed = round + 1
		for i := range all {
			mode := (round + i) % 2
			out, _, _ := r.lap("launch", "stopwatch /home/deploy/codepen/RELEASE 'release 1' snapsource up --output json --warm "+
				[]string{"none", "hot"}[mode]+" 2>/run/up", "--lazy=ebs")
			all[mode] = append(all[mode], decodeLine[lap](t, out).Ended)
		}
		ratios = append(ratios, 1000*all[1][round]/all[0][round])
		t.Logf("none %s, hot %s", span(all[0][round]), span(all[1][round]))
	}
	t.Logf("ratios within a round: %.3f to %.3f, median %.3f", float64(quantile(ratios, 0.01))/1000, float64(quantile(ratios, 1))/1000, float64(quantile(ratios, 0.5))/1000)
	logBounds(t, bound{
		what: "4. launch with --warm hot against none, medians",
		got:  float64(quantile(all[1], 0.5)) / float64(quantile(all[0], 0.5)), most: true, want: 1.02,
	})
}

// cleanSnapshot takes a snapshot of an unmounted volume.
const cleanSnapshot = `
snapsource up -q --warm none
volume=$(snapsource status --output json | jq -r .sources[0].volume)
snapsource down -q
aws ec2 create-snapshot --volume-id $volume --tag-specifications 'ResourceType=snapshot,Tags=[{Key=Name,Value=codepen-app}]' >/dev/null
aws ec2 wait snapshot-completed --owner-ids self --filters Name=tag:Name,Values=codepen-app`

// TestWarmMount: the mount of a volume whose blocks are cold, against a program without Preread.
func TestWarmMount(t *testing.T) {
	r := newWarmRace(t, smallRelease, smallWorking, "", "")
	var bounds []bound
	for _, state := range []string{"frozen", "clean"} {
		if state == "clean" {
			r.run("clean", cleanSnapshot)
		}
		var whole, mount [2][]time.Duration // without and with Preread
		for round := range launchRounds {
			r.seed = round + 1
			for i := range whole {
				which := (round + i) % 2
				program := []string{"snapsource-plain", "snapsource"}[which]
				_, up, c := r.lap("mount", program+" up --warm none --output json >/run/up 2>&1", "--lazy=ebs")
				m := took(*up, report.Mount)
				whole[which], mount[which] = append(whole[which], took(*up, report.Inspect)+m), append(mount[which], m)
				if round == 0 {
					t.Logf("%s, %s: %+v", state, program, c.By)
				}
			}
			t.Logf("%s: inspect + mount %s, with preread %s; mount %s, %s", state, span(whole[0][round]), span(whole[1][round]), span(mount[0][round]), span(mount[1][round]))
		}
		for _, of := range []struct {
			what string
			took [2][]time.Duration
		}{{"inspect + mount", whole}, {"mount alone", mount}} {
			without, with := quantile(of.took[0], 0.5), quantile(of.took[1], 0.5)
			bounds = append(bounds, bound{
				what: fmt.Sprintf("5. %s log: %s, %s against %s", state, of.what, span(with), span(without)),
				got:  with.Seconds() / without.Seconds(), most: true, want: 0.5,
			})
		}
	}
	logBounds(t, bounds...)
}
