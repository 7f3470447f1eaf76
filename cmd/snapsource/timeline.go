package main

import (
	"fmt"
	"strings"
	"time"

	"snapsource/agent"
	"snapsource/ec2ops"
)

// timelineWidth is how many characters the whole run is wide.
const timelineWidth = 40

// timeline draws each step, and below it the calls that began in it, as bars over
// the time of the run.
func (t *table) timeline(r agent.Report, calls []ec2ops.Call) {
	for _, s := range r.Sources {
		if len(s.Steps) == 0 {
			continue
		}
		fmt.Fprintf(t.out, "Timeline of %s\n", s.Source)
		for _, step := range s.Steps {
			fmt.Fprintf(t.out, "  %-26s %s %9s\n", step.Step, bar('█', step.Start, step.Took, s.Took), span(step.Took))
			for _, c := range calls {
				at := c.Start.Sub(s.Began)
				if at >= step.Start && at < step.Start+step.Took {
					fmt.Fprintf(t.out, "    %-24s %s %9s\n", c.Action, bar('▒', at, c.Took, s.Took), span(c.Took))
				}
			}
		}
	}
}

// bar marks the part of the whole from start on, at least one character.
func bar(mark rune, start, took, whole time.Duration) string {
	scale := func(d time.Duration) int {
		return int(float64(d) / float64(max(whole, 1)) * timelineWidth)
	}
	from := min(scale(start), timelineWidth-1)
	width := min(max(scale(start+took)-from, 1), timelineWidth-from)
	return "│" + strings.Repeat(" ", from) + strings.Repeat(string(mark), width) +
		strings.Repeat(" ", timelineWidth-from-width) + "│"
}
