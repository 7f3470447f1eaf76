//go:build linux && bench

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"snapsource/agent/report"
)

// fioRead is what fio has read, and in how many milliseconds.
type fioRead struct {
	Bytes   int64 `json:"io_bytes"`
	Runtime int64
}

// TestWarmSpeed: warm reads all in use about as fast as fio can read the same, with the best number
// of reads in flight.
func TestWarmSpeed(t *testing.T) {
	r := newWarmRace(t, releaseMiB, 1, "", "--no-hot")
	const script = "snapsource up --warm none --output json >/run/up 2>&1\n"
	best, bestDepth := 0.0, 0
	fio := func(size, depth int) float64 {
		list := filepath.Join(r.bin, fmt.Sprintf("extents-%d", size))
		if _, err := os.Stat(list); err != nil {
			out := r.run(fmt.Sprintf("extents-%d", size), fmt.Sprintf("snapsource up -q --warm none\napp extents /cp %d", size))
			if err := os.WriteFile(list, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out, _, c := r.lap(fmt.Sprintf("fio-%d-%d", size, depth), script+fmt.Sprintf(`
sed "s|DEVICE|%s|" %s >/run/extents
fio --name=x --read_iolog=/run/extents --replay_no_stall=1 --ioengine=libaio --direct=1 --iodepth=%d --output-format=json |
	jq -c .jobs[0].read`, device, list, depth), "--lazy=ebs")
		read := decodeLine[fioRead](t, out)
		rate := float64(read.Bytes) / float64(read.Runtime) * 1000 / (1 << 20)
		t.Logf("fio, %d KiB, %d in flight: %d MiB, %.1f MiB/s, %d blocks, at most %d at once", size>>10, depth, read.Bytes>>20, rate, c.Fetched, c.MostFetches)
		if rate > best {
			best, bestDepth = rate, depth
		}
		return rate
	}
	for _, depth := range []int{8, 16, 32, 64, 128} {
		fio(512<<10, depth)
	}
	fio(256<<10, bestDepth)
	var rates []float64
	twice := int64(0)
	for range 2 {
		out, _, c := r.lap("warm", script+"snapsource warm --output json 2>/dev/null | jq -c .sources[0]", "--lazy=ebs")
		warm := decodeLine[report.Source](t, out)
		rate := float64(warm.Warm.Used.Bytes) / (1 << 20) / took(warm, report.ReadUsed).Seconds()
		t.Logf("warm: %d MiB, %.1f MiB/s, %d blocks, at most %d at once", warm.Warm.Used.Bytes>>20, rate, c.Fetched, c.MostFetches)
		rates, twice = append(rates, rate), twice+c.Twice
	}
	logBounds(t,
		bound{what: "2. throughput against fio's best", got: min(rates[0], rates[1]) / best, want: 0.9},
		bound{what: "2. blocks fetched twice", got: float64(twice), most: true, want: 0})
}

// took returns the duration of a step.
func took(s report.Source, name report.Step) (d time.Duration) {
	for _, step := range s.Steps {
		if step.Step == name {
			d += step.Took
		}
	}
	return d
}

// TestWarmShare: what warm costs an application that reads at the same time.
func TestWarmShare(t *testing.T) {
	r := newWarmRace(t, releaseMiB, workingMiB, "", "")
	const (
		rounds = 3
		begin  = "snapsource up --warm none --output json >/run/up 2>&1\nsnapsource warm --hot -q\n"
		warm   = "snapsource warm -q & warm=$!\n"
		end    = "kill -0 $warm || echo '\"ended\"'\n"
	)
	var loaded, cold [2][][]time.Duration // without and with warm, by round
	var twice int64
	add := func(to *[][]time.Duration, out string) {
		took := decodeLine[[]time.Duration](t, out)
		*to = append(*to, took)
		t.Logf("%d reads, median %s, 99th percentile %s", len(took), quantile(took, 0.5).Round(time.Microsecond), quantile(took, 0.99).Round(time.Microsecond))
	}
	for range rounds {
		for i, beside := range []string{"", warm} {
			out, _, c := r.lap("loaded", begin+beside+"app loaded /home/deploy/codepen 12\n"+ifAny(beside, end), "--lazy=ebs")
			add(&loaded[i], out)
			out, _, c2 := r.lap("cold", begin+beside+"app cold /home/deploy/codepen 500\n"+ifAny(beside, end), "--lazy=ebs")
			add(&cold[i], out)
			t.Logf("by warm: %d MiB, %d MiB", c.By["warm"].ReadBytes>>20, c2.By["warm"].ReadBytes>>20)
			twice += c.Twice + c2.Twice
		}
	}
	// The median of the rounds: something else on the machine may disturb one of them.
	ratio := func(of [2][][]time.Duration, part float64) float64 {
		var figures [2][]time.Duration
		for i := range of {
			for _, round := range of[i] {
				figures[i] = append(figures[i], quantile(round, part))
			}
		}
		return float64(quantile(figures[1], 0.5)) / float64(quantile(figures[0], 0.5))
	}
	logBounds(t,
		bound{what: "3. reads of loaded blocks beside warm, median", got: ratio(loaded, 0.5), most: true, want: 1.1},
		bound{what: "3. reads of loaded blocks beside warm, 99th percentile", got: ratio(loaded, 0.99), most: true, want: 1.25},
		bound{what: "3. reads of cold blocks beside warm, median", got: ratio(cold, 0.5), most: true, want: 1.1},
		bound{what: "3. reads of cold blocks beside warm, 99th percentile", got: ratio(cold, 0.99), most: true, want: 1.25},
		bound{what: "3. blocks fetched twice", got: float64(twice), most: true, want: 0})
}

func ifAny(condition, text string) string {
	if condition == "" {
		return ""
	}
	return text
}
