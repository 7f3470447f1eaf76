//go:build linux && bench

package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"
)

// The drawing's size, and where its axes lie, in pixels.
const (
	plotWidth, plotHeight = 780, 400
	plotLeft, plotRight   = 64, 560
	plotTop, plotBottom   = 20, 340
)

// The time axis, in powers of ten of a second.
const leastTime, mostTime = -1, 2

func plotX(t time.Duration) float64 {
	return plotLeft + max(math.Log10(t.Seconds())-leastTime, 0)/(mostTime-leastTime)*(plotRight-plotLeft)
}

func plotY(percent int) float64 {
	return plotBottom - float64(percent)/100*(plotBottom-plotTop)
}

// plotWays draws how much of the working set has been read, over the time, on a logarithmic axis,
// as an SVG that can be read on a light and on a dark page.
func plotWays(ways []*way) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">
<title>How much of its working set an application has read, after a launch</title>
<style>
text { fill: #24292f } .grid { stroke: #8c959f; stroke-opacity: .35 } polyline { fill: none; stroke-width: 2 }
.w0 { stroke: #cf222e } .w1 { stroke: #0969da; stroke-width: 3 } .w2 { stroke: #1b7c83 } .w3 { stroke: #bc4c00 } .w4 { stroke: #8250df } .w5 { stroke: #9a6700 } .w6 { stroke: #bf3989 } .w7 { stroke: #57606a; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .w0 { stroke: #ff7b72 } .w1 { stroke: #58a6ff } .w2 { stroke: #76e3ea } .w3 { stroke: #f0883e } .w4 { stroke: #d2a8ff } .w5 { stroke: #e3b341 } .w6 { stroke: #f778ba } .w7 { stroke: #8b949e } }
</style>
`, plotWidth, plotHeight)
	for _, tick := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, 100 * time.Second} {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1[1]f" x2="%.1[1]f" y1="%[2]d" y2="%[3]d"/><text x="%.1[1]f" y="%[4]d" text-anchor="middle">%[5]g s</text>`+"\n",
			plotX(tick), plotTop, plotBottom, plotBottom+18, tick.Seconds())
	}
	for percent := 0; percent <= 100; percent += 25 {
		fmt.Fprintf(&b, `<line class="grid" x1="%[1]d" x2="%[2]d" y1="%.1[3]f" y2="%.1[3]f"/><text x="%[4]d" y="%.1[3]f" dy="4" text-anchor="end">%[5]d %%</text>`+"\n",
			plotLeft, plotRight, plotY(percent), plotLeft-8, percent)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">since the end of snapsource up</text>`+"\n", (plotLeft+plotRight)/2, plotBottom+40)
	for n, w := range ways {
		var path strings.Builder
		for i, at := range w.set.Marks {
			fmt.Fprintf(&path, "%.1f,%.1f ", plotX(at), plotY(i+1))
		}
		fmt.Fprintf(&b, `<polyline class="w%d" points="%s"/>`+"\n", n, strings.TrimSpace(path.String()))
		y := plotTop + 10 + 22*n
		fmt.Fprintf(&b, `<polyline class="w%d" points="%d,%d %d,%d"/><text x="%d" y="%d" dy="4">%s</text>`+"\n", n, plotRight+14, y, plotRight+34, y, plotRight+40, y, w.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
