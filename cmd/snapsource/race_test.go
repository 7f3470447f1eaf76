//go:build linux && bench

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"snapsource/agent/report"
)

// raceRounds, a number, says how many rounds of the race are run; ten without it. One takes
// a minute. After them snapsource and the floor run twice as many against each other: what
// lies between them is a tenth of a second, and depends on when the volume happens to be
// available.
const raceRounds = "RACE"

// lap is what testdata/race/stopwatch prints of a launch, and what it cost.
type lap struct {
	Readable, Ended, CPU time.Duration
	RSS                  int64
	calls, looks         int // API calls; of them polls of the new volume until it was available

	report         *report.Source // of snapsource
	again, version *lap
}

// competitor is a way to bring a new instance's Source there.
type competitor struct {
	name    string
	command []string
	flags   []string // of the sandbox, besides the latency
	size    string   // of the program, as people get it
	laps    []lap
}

// race is the sandbox in which the competitors are launched one after the other.
type race struct {
	*sandbox
	bin  string
	base string // a copy of the state to which each launch starts; "": the state that the last one left
}

// TestRace launches new instances from one snapshot, each by another way, until its
// Source is readable. In a round EC2 takes the same time for each; the order rotates.
func TestRace(t *testing.T) {
	r := newRace(t)
	rounds := raceRoundsWanted(t)
	competitors := []*competitor{
		r.ourselves(),
		{name: "floor", command: []string{"floor", r.dir}, size: "-"},
		{name: "SDK, look every 2 s", command: []string{"loop", "poll"}, size: "-"},
		{name: "SDK, its waiters", command: []string{"loop", "waiter"}, size: "-"},
		{name: "AWS CLI, its waiters", command: []string{"by-hand.sh"}, size: packageSize(t, "awscli") + " installed"},
	}
	r.launchAll(3*rounds, func(round int) []*competitor {
		if round >= rounds {
			return competitors[:2]
		}
		return competitors
	})
	t.Logf("%d rounds, the others in %d of them, %d processors, %s\n%s", 3*rounds, rounds, runtime.NumCPU(), runtime.Version(), results(competitors))
}

// ourselves is the competitor that the others are compared with.
func (r *race) ourselves() *competitor {
	return &competitor{name: "snapsource up", command: theProgram, size: megabytes(gzipped(r.t, filepath.Join(r.bin, "snapsource"))) + " gzip"}
}

func raceRoundsWanted(t *testing.T) int {
	text := os.Getenv(raceRounds)
	if text == "" {
		return 10
	}
	rounds, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return rounds
}

// launchAll launches each competitor in each round that it takes part in; the order rotates.
func (r *race) launchAll(rounds int, in func(round int) []*competitor) {
	r.t.Helper()
	r.t.Logf("load at the start: %s", loadAverage(r.t))
	for round := range rounds {
		among := in(round)
		for i := range among {
			c := among[(round+i)%len(among)]
			c.laps = append(c.laps, r.launch(c, round))
		}
	}
	r.t.Logf("load at the end: %s", loadAverage(r.t))
}

func newRace(t *testing.T) *race {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "make", "-C", "../..", "build", "BIN="+bin)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	goTool(t, []string{"CGO_ENABLED=0"}, "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", bin+"/", "./testdata/race/...")
	script, err := os.ReadFile("testdata/race/by-hand.sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "by-hand.sh"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	s := deployed(t)
	t.Setenv("PATH", bin+":/usr/sbin:/usr/bin:/sbin:/bin") // the program as it is shipped
	s.program = filepath.Join(bin, "ec2sandbox")
	return &race{s, bin, ""}
}

// theProgram is the competitor that the others are compared with.
var theProgram = []string{"snapsource", "up", "--role", "app", "--output", "json"}

// launch launches one instance. Before the clock starts the AWS CLI is used once, so
// that the sandbox has found it and the kernel has read it. Once our own program is done,
// it is run again, and asked for its version.
func (r *race) launch(c *competitor, round int) lap {
	r.t.Helper()
	r.reset()
	name := instanceNames.ReplaceAllString(c.name, "-") + "-" + strconv.Itoa(round)
	const clock = "stopwatch /home/deploy/codepen/RELEASE 'release 1' "
	script := "aws --version >/dev/null 2>&1\n" + clock + strings.Join(c.command, " ") + " 2>/run/out || { cat /run/out; exit 1; }\n"
	ours := c.command[0] == theProgram[0]
	if ours {
		script += "sed -n '/^{$/,$p' /run/out\n" + clock + "" + strings.Join(c.command, " ") + " 2>/dev/null\n" + clock + "snapsource version 2>/dev/null\n"
	}
	out := r.run(name, script, append(c.flags, "--latency", "realistic", "--latency-seed", strconv.Itoa(round+1))...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decode := func(v any) {
		r.t.Helper()
		if err := decoder.Decode(v); err != nil {
			r.t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	var l lap
	decode(&l)
	if ours {
		var result report.Report
		decode(&result)
		l.report = result.Sources[0]
		l.again, l.version = &lap{}, &lap{}
		decode(l.again)
		decode(l.version)
	}
	created := false
	for _, call := range r.calls(name) {
		l.calls++
		if created && call.Action == "DescribeVolumes" {
			l.looks++
		}
		created = created && call.Action != "AttachVolume" || call.Action == "CreateVolume"
	}
	r.t.Logf("%s: readable after %s, ended after %s, %d calls", name, span(l.Readable), span(l.Ended), l.calls)
	if out, err := exec.CommandContext(r.t.Context(), r.program, "terminate", "--state", r.dir, name).CombinedOutput(); err != nil {
		r.t.Fatalf("terminate %s: %v\n%s", name, err, out)
	}
	return l
}

// instanceNames are made of what a competitor is called without these.
var instanceNames = regexp.MustCompile("[^A-Za-z0-9]+")

// results draws the table. Figures are medians; in brackets are the 90th percentiles. A
// ratio is that within the rounds in which the competitor took part.
func results(competitors []*competitor) string {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\treadable after\tratio\tbeyond the floor\tended after\tAPI calls\tof them looks\tCPU\tpeak memory\tprogram")
	us, floor := competitors[0], competitors[1]
	readable := func(l lap) time.Duration { return l.Readable }
	for _, c := range competitors {
		var beyond []time.Duration
		for i, l := range c.laps {
			beyond = append(beyond, l.Readable-floor.laps[i].Readable)
		}
		fmt.Fprintf(w, "%s\t%.2f s (%.2f s)\t%.2f\t%s (%s)\t%.2f s\t%d\t%d\t%s\t%s\t%s\n", c.name,
			quantile(each(c.laps, readable), 0.5).Seconds(), quantile(each(c.laps, readable), 0.9).Seconds(),
			quantile(each(c.laps, readable), 0.5).Seconds()/quantile(each(us.laps[:len(c.laps)], readable), 0.5).Seconds(),
			span(quantile(beyond, 0.5)), span(quantile(beyond, 0.9)),
			quantile(each(c.laps, func(l lap) time.Duration { return l.Ended }), 0.5).Seconds(),
			quantile(each(c.laps, func(l lap) int { return l.calls }), 0.5), quantile(each(c.laps, func(l lap) int { return l.looks }), 0.5),
			span(quantile(each(c.laps, func(l lap) time.Duration { return l.CPU }), 0.5)),
			megabytes(quantile(each(c.laps, func(l lap) int64 { return l.RSS }), 0.5)), c.size)
	}
	w.Flush()
	of := func(what string, get func(lap) time.Duration) {
		all := each(us.laps, get)
		fmt.Fprintf(&table, "%s %s (%s)\n", what, quantile(all, 0.5).Round(100*time.Microsecond), quantile(all, 0.9).Round(100*time.Microsecond))
	}
	fmt.Fprintln(&table, us.name+":")
	of("  for itself, of a launch:", func(l lap) time.Duration { return l.report.Own })
	of("  before and after that, for the process to start and to end:", func(l lap) time.Duration { return l.Ended - l.report.Took })
	of("  run again, CPU:", func(l lap) time.Duration { return l.again.CPU })
	of("  run again, until it ended:", func(l lap) time.Duration { return l.again.Ended })
	of("  its version, until it ended:", func(l lap) time.Duration { return l.version.Ended })
	return table.String()
}

func each[T any](laps []lap, get func(lap) T) []T {
	var all []T
	for _, l := range laps {
		all = append(all, get(l))
	}
	return all
}

// quantile returns the smallest value that a part of all values does not exceed; for a half
// of an even number of values, the mean of the two in the middle.
func quantile[T ~int | ~int64](all []T, part float64) T {
	all = slices.Sorted(slices.Values(all))
	if n := len(all); part == 0.5 && n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[max(int(math.Ceil(part*float64(len(all)))), 1)-1]
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

func loadAverage(t *testing.T) string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// packageSize is what dpkg says that a package takes, without what it depends on.
func packageSize(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f", "${Installed-Size}", name).Output()
	kib, parseErr := strconv.ParseInt(string(out), 10, 64)
	if err != nil || parseErr != nil {
		return "unknown"
	}
	return megabytes(kib << 10)
}
