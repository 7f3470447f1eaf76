//go:build linux && bench

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"snapsource/agent/report"
)

// warmSVG names the file to which TestWarmRace writes its drawing; none without it.
const warmSVG = "WARM_SVG"

// The release: files of 16 KiB to 1 MiB, and those of them that the application reads.
const (
	releaseMiB = 2048
	workingMiB = 300
)

// warmRace is a sandbox with the snapshot of a release in which the hot set is recorded.
type warmRace struct {
	*sandbox
	bin  string
	n    int // instances
	seed int // of EC2's latencies
}

// newWarmRace builds the programs as they are shipped, and one that reads nothing ahead of a mount. It has an instance whose volume is not
// lazy write the release, read the working set and take the snapshot, with options. Before it, extra
// is run in the Source.
func newWarmRace(t *testing.T, mib, working int, extra, options string) *warmRace {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "make", "-C", "../..", "build", "BIN="+bin)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	goTool(t, []string{"CGO_ENABLED=0"}, "build", "-buildvcs=false", "-o", bin+"/", "./testdata/warm/...", "./testdata/race/stopwatch")
	goTool(t, []string{"CGO_ENABLED=0"}, "build", "-buildvcs=false", "-tags", "nethttpomithttp2,nopreread", "-o", filepath.Join(bin, "snapsource-plain"), ".")
	s := newSandbox(t)
	t.Setenv("PATH", bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	s.program, s.timeout = filepath.Join(bin, "ec2sandbox"), 10*time.Minute
	r := &warmRace{sandbox: s, bin: bin, seed: 1}
	s.run("release", fmt.Sprintf(`
snapsource init -q
cd /home/deploy/codepen
app make . %d %d
%s
sync
echo 3 >/proc/sys/vm/drop_caches
app read . >/dev/null
cd /
snapsource snapshot --wait %s
snapsource down --delete -q`, mib, working, extra, options))
	t.Logf("load at the start: %s", loadAverage(t))
	return r
}

// lap runs a script on a new instance, and returns its output and what was read of its volume.
// The file /run/up is to hold the output of up.
func (r *warmRace) lap(name, script string, flags ...string) (out string, up *report.Source, c lazyCounts) {
	r.t.Helper()
	r.n++
	name = fmt.Sprintf("%s-%d", strings.Trim(instanceNames.ReplaceAllString(name, "-"), "-"), r.n)
	flags = append(flags, "--latency", "realistic", "--latency-seed", strconv.Itoa(r.seed))
	out = r.run(name, "trap '[ $? = 0 ] || cat /run/up' EXIT\n"+script+"\nsed -n '/^{$/,$p' /run/up >&2\n", flags...)
	out, text, found := strings.Cut(out, "{\n")
	var d report.Report
	if err := json.Unmarshal([]byte("{\n"+text), &d); err != nil || !found || len(d.Sources) != 1 {
		r.t.Fatalf("%s: no report of up: %v\n%s%s", name, err, out, text)
	}
	up = d.Sources[0]
	c = r.lazy(up.Volume)
	r.terminate(name)
	return out, up, c
}

func (r *warmRace) terminate(name string) {
	r.t.Helper()
	if out, err := exec.CommandContext(r.t.Context(), r.program, "terminate", "--state", r.dir, name).CombinedOutput(); err != nil {
		r.t.Fatalf("terminate %s: %v\n%s", name, err, out)
	}
}

// bound is a figure, and what is wanted of it.
type bound struct {
	what string
	got  float64
	most bool // at most want; else at least
	want float64
}

func (b bound) String() string {
	word, met := "at least", b.got >= b.want
	if b.most {
		word, met = "at most", b.got <= b.want
	}
	verdict := "met"
	if !met {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%s: %.3g, wanted %s %.3g: %s", b.what, b.got, word, b.want, verdict)
}

// logBounds prints bounds; a figure that misses its bound is no failure.
func logBounds(t *testing.T, bounds ...bound) {
	t.Helper()
	t.Logf("load at the end: %s", loadAverage(t))
	for _, b := range bounds {
		t.Log(b)
	}
}

// decodeLine decodes the last line of an output.
func decodeLine[T any](t *testing.T, out string) (v T) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &v); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return v
}

// readSet is what testdata/warm/app prints of the working set.
type readSet struct {
	Took  time.Duration
	Bytes int64
	Files int
	Marks []time.Duration
}

// way is a way to deal with first reads.
type way struct {
	name, up, beside, before, flag string

	set    readSet
	counts lazyCounts
}

// device is the volume of the Source, in a script.
const device = "$(sed -n '/^{$/,$p' /run/up | jq -r '.sources[0].node')"

// TestWarmRace: an application reads its working set at once after a launch, with each way to deal
// with first reads.
func TestWarmRace(t *testing.T) {
	r := newWarmRace(t, releaseMiB, workingMiB, "", "")
	ways := []*way{
		{name: "nothing", up: "--warm none"},
		{name: "hot set", up: "--warm hot"},
		{name: "hot set, all", up: "--warm all"},
		{name: "hot set before service", up: "--warm none", before: "snapsource warm --hot -q"},
		{name: "dd", up: "--warm none", beside: "dd if=" + device + " of=/dev/null bs=1M 2>/dev/null"},
		{name: "fio", up: "--warm none", beside: "fio --filename=" + device + " --rw=read --bs=1M --iodepth=32 --ioengine=libaio --direct=1 --name=volume-initialize >/dev/null"},
		{name: "initialization rate", up: "--warm none --initialization-rate 300"},
		{name: "not lazy", up: "--warm none", flag: "none"},
	}
	for _, w := range ways {
		script := "snapsource up --output json " + w.up + " >/run/up 2>&1\n"
		if w.beside != "" {
			script += w.beside + " &\n"
		}
		script += w.before + "\n"
		if w.flag == "" {
			w.flag = "ebs"
		}
		out, _, c := r.lap(w.name, script+"app read /home/deploy/codepen", "--lazy="+w.flag)
		w.set, w.counts = decodeLine[readSet](t, out), c
		t.Logf("%s: %s, %d blocks, %+v", w.name, span(w.set.Took), c.Fetched, c.By)
	}
	out, _, c := r.lap("hot alone", `
snapsource up --warm none --output json >/run/up 2>&1
snapsource warm --hot --output json 2>/dev/null | jq -c '.sources[0]'`, "--lazy=ebs")
	alone := decodeLine[report.Source](t, out)
	t.Logf("working set of %d files, %d MiB; %d processors\n%s", ways[0].set.Files, ways[0].set.Bytes>>20, runtime.NumCPU(), waysTable(ways))
	t.Logf("the hot set alone: %s, %d MiB, %d blocks", span(alone.Took), alone.Warm.Hot.Bytes>>20, c.By["warm"].Fetched)
	seconds := func(i int) float64 { return ways[i].set.Took.Seconds() }
	twice := c.Twice
	for _, w := range ways {
		twice += w.counts.Twice
	}
	logBounds(t,
		bound{what: "1. sooner than with nothing, times", got: seconds(0) / seconds(1), want: 5},
		bound{what: "1. sooner than beside dd, times", got: seconds(4) / seconds(1), want: 5},
		bound{what: "1. against a volume that is not lazy", got: seconds(1) / seconds(7), most: true, want: 1.3},
		bound{what: "1. the same, before service", got: seconds(3) / seconds(7), most: true, want: 1.3},
		bound{what: "1. blocks fetched twice", got: float64(twice), most: true, want: 0})
	if path := os.Getenv(warmSVG); path != "" {
		if err := os.WriteFile(path, plotWays(ways), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// waysTable has a row for each way. The ratio is against the second one.
func waysTable(ways []*way) string {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tworking set read after\tratio\thalf of it after\tfetched by the application\tby others\ttwice")
	for _, way := range ways {
		own := way.counts.By["application"].Fetched
		fmt.Fprintf(w, "%s\t%.1f s\t%.2f\t%.1f s\t%d\t%d\t%d\n", way.name, way.set.Took.Seconds(), way.set.Took.Seconds()/ways[1].set.Took.Seconds(),
			way.set.Marks[49].Seconds(), own, way.counts.Fetched-own, way.counts.Twice)
	}
	w.Flush()
	return table.String()
}
