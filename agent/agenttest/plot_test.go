package agenttest_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// The drawing's size, and where its axes lie, in pixels.
const (
	plotWidth, plotHeight = 720, 420
	plotLeft, plotRight   = 64, 690
	plotTop, plotBottom   = 44, 370
)

// The axes, in powers of ten: instances, and seconds.
const (
	leastSize, mostSize = 0.8, 4.31
	leastTime, mostTime = 0.0, 4.3
)

func plotX(size float64) float64 {
	return plotLeft + (math.Log10(size)-leastSize)/(mostSize-leastSize)*(plotRight-plotLeft)
}

func plotY(seconds float64) float64 {
	return plotBottom - (math.Log10(seconds)-leastTime)/(mostTime-leastTime)*(plotBottom-plotTop)
}

// plotFleets draws how long fleets took, and the bounds, on logarithmic axes, as an SVG
// that can be read on a light and on a dark page.
func plotFleets(fleets []fleet) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">
<title>Instances launched at the same moment, and the time until the last one is mounted</title>
<style>
text { fill: #24292f } .grid { stroke: #8c959f; stroke-opacity: .35 } .perAction { stroke: #0969da; fill: #0969da } .shared { stroke: #bc4c00; fill: #bc4c00 } .bound { fill: none; stroke-width: 1.5; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .perAction { stroke: #58a6ff; fill: #58a6ff } .shared { stroke: #f0883e; fill: #f0883e } .bound { fill: none } }
text.perAction, text.shared { stroke: none }
</style>
`, plotWidth, plotHeight)
	for _, size := range []float64{10, 100, 1000, 10000} {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1[1]f" x2="%.1[1]f" y1="%[2]d" y2="%[3]d"/><text x="%.1[1]f" y="%[4]d" text-anchor="middle">%.0[5]f</text>`+"\n",
			plotX(size), plotTop, plotBottom, plotBottom+18, size)
	}
	for _, tick := range []struct {
		seconds float64
		text    string
	}{{1, "1 s"}, {10, "10 s"}, {60, "1 min"}, {600, "10 min"}, {3600, "1 h"}} {
		fmt.Fprintf(&b, `<line class="grid" x1="%[1]d" x2="%[2]d" y1="%.1[3]f" y2="%.1[3]f"/><text x="%[4]d" y="%.1[3]f" dy="4" text-anchor="end">%[5]s</text>`+"\n",
			plotLeft, plotRight, plotY(tick.seconds), plotLeft-8, tick.text)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">instances launched at the same moment</text>`+"\n", (plotLeft+plotRight)/2, plotBottom+40)
	for n, kind := range kinds {
		class := map[ec2test.Throttle]string{ec2test.PerAction: "perAction", ec2test.SharedMutations: "shared"}[kind.throttle]
		label := map[ec2test.Throttle]string{ec2test.PerAction: "a bucket for each action", ec2test.SharedMutations: "one bucket for all changes"}[kind.throttle]
		var path strings.Builder
		for size := 10.0; size <= 20000; size *= 1.05 {
			fmt.Fprintf(&path, "%.1f,%.1f ", plotX(size), plotY(bound(int(size), kind.throttle).Seconds()))
		}
		fmt.Fprintf(&b, `<polyline class="bound %s" points="%s"/>`+"\n", class, strings.TrimSpace(path.String()))
		fmt.Fprintf(&b, `<text class="%s" x="%d" y="%d">● %s: until the last is mounted; dashed: the bound</text>`+"\n", class, plotLeft+8, 18+17*n, label)
	}
	for _, f := range fleets {
		class, dx, dy, anchor := "perAction", 10, 14, "start"
		if f.throttle == ec2test.SharedMutations {
			class, dx, dy, anchor = "shared", -10, -6, "end"
		}
		x, y := plotX(float64(f.size)), plotY(f.last.Seconds())
		fmt.Fprintf(&b, `<circle class="%[1]s" cx="%.1[2]f" cy="%.1[3]f" r="4"/><text class="%[1]s" x="%.1[4]f" y="%.1[5]f" text-anchor="%[6]s">%.0[7]f s</text>`+"\n",
			class, x, y, x+float64(dx), y+float64(dy), anchor, f.last.Seconds())
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// TestPlotFleets: the drawing is XML, and has a mark for each fleet within its bounds.
func TestPlotFleets(t *testing.T) {
	drawing := string(plotFleets([]fleet{
		{size: 10, last: 5 * time.Second}, {size: 20000, throttle: ec2test.SharedMutations, last: 5 * time.Hour},
	}))
	for decoder := xml.NewDecoder(strings.NewReader(drawing)); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(drawing, "<circle"); got != 2 {
		t.Errorf("%d marks, want 2", got)
	}
	for _, at := range []float64{plotX(10), plotX(20000)} {
		if at < plotLeft || at > plotRight {
			t.Errorf("x is %.1f, outside of the axes", at)
		}
	}
	if y := plotY(5 * 3600); y < plotTop || y > plotBottom {
		t.Errorf("y is %.1f, outside of the axes", y)
	}
}
