package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/agent/report"
)

func TestTimeline(t *testing.T) {
	const s = time.Second
	r := report.Report{Sources: []*report.Source{{
		Source: "codepen-app", Took: 40 * s, EC2: 36 * s, Own: 4 * s,
		Steps: []report.FinishedStep{{Step: report.Create, Start: 0, Took: 20 * s}, {Step: report.Attach, Start: 20 * s, Took: 20 * s}},
		Calls: []report.Call{
			{Action: "CreateVolume", Start: 0, Took: 4 * s, Result: "ok"},
			{Action: "DescribeVolumes", Start: 8 * s, Took: s / 10, Result: "ok"},
			{Action: "DescribeVolumes", Start: 16 * s, Took: 4 * s, Result: "ok"},
			{Action: "AttachVolume", Start: 20 * s, Took: 2 * s, Result: "IncorrectState"},
			{Action: "AttachVolume", Start: 26 * s, Took: 2 * s, Result: "ok"},
		},
		Waits: []report.Wait{
			{On: report.OnEC2, For: "the next look", Start: 4 * s, Took: 4 * s},
			{On: report.OnEC2, For: "the next look", Start: 9 * s, Took: 7 * s},
			{On: report.OnKernel, For: "the device of a name that is far too long", Start: 28 * s, Took: 20 * s},
		},
	}}}
	var out bytes.Buffer
	table := newTable(&out, "up")
	table.timeline(r)
	table.close()
	const want = `Timeline of codepen-app (█ step, ▒ call, ░ wait)
  create                         │████████████████████                    │   20.00 s
    CreateVolume                 │▒▒▒▒                                    │    4.00 s
    for the next look ×2         │    ░░░░ ░░░░░░░                        │   11.00 s
    DescribeVolumes ×2           │        ▒       ▒▒▒▒                    │    4.10 s
  attach                         │                    ████████████████████│   20.00 s
    AttachVolume: IncorrectState │                    ▒▒                  │    2.00 s
    AttachVolume                 │                          ▒▒            │    2.00 s
    for the device of a name th… │                            ░░░░░░░░░░░░│   20.00 s
36.00 s for EC2, 4.00 s for itself
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
