//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"time"
)

// reader says who caused a request or a fetch.
type reader string

const (
	readerMount       reader = "mount"       // before the file system on the volume is mounted
	readerApplication reader = "application" // after that
	readerWarm        reader = "warm"        // the process snapsource warm
	readerBackground  reader = "background"  // VolumeInitializationRate
	readerPrefetch    reader = "prefetch"    // the option prefetch of a profile
	readerUnknown     reader = "unknown"     // the kernel does not say
)

// readers is all of them, in the order in which they are printed.
var readers = []reader{readerMount, readerApplication, readerWarm, readerBackground, readerPrefetch, readerUnknown}

// readerCounts are the counts of one reader.
type readerCounts struct {
	Fetched      int64     `json:"fetched"` // blocks
	First        time.Time `json:"first,omitzero"`
	Last         time.Time `json:"last,omitzero"` // of these fetches
	Reads        int64     `json:"reads"`         // requests
	ReadBytes    int64     `json:"read_bytes"`
	Writes       int64     `json:"writes"` // requests
	WrittenBytes int64     `json:"written_bytes"`
	Times        durations `json:"read_times"`
	Median       string    `json:"read_median,omitempty"`
	P99          string    `json:"read_p99,omitempty"`
}

// volumeCounts are the counts of a volume, as they are stored and printed.
type volumeCounts struct {
	Volume  string `json:"volume"`
	Profile string `json:"profile"` // of the last run
	// Untraced says why requests are of an unknown reader.
	Untraced     string                   `json:"untraced,omitempty"`
	Blocks       int64                    `json:"blocks"`       // of 512 KiB, with data in the snapshot
	Cold         int64                    `json:"cold"`         // of these
	Fetched      int64                    `json:"fetched"`      // of these
	Overwritten  int64                    `json:"overwritten"`  // of these, whole and without a fetch
	Twice        int64                    `json:"twice"`        // fetched again
	Waited       int64                    `json:"waited"`       // requests that waited for the fetch of another
	MostFetches  int64                    `json:"most_fetches"` // at the same time
	MostRequests int64                    `json:"most_requests"`
	By           map[reader]*readerCounts `json:"by"`
}

// lazyCounts counts what happens to a volume.
type lazyCounts struct {
	path string

	mu       sync.Mutex
	c        volumeCounts
	requests int64 // in progress
	fetches  int64 // in progress
	changed  bool
}

// openCounts continues the counts in a file; there may be none.
func openCounts(path, volumeID string, p lazyProfile) (*lazyCounts, error) {
	c, err := readCounts(path)
	if errors.Is(err, fs.ErrNotExist) {
		c, err = volumeCounts{}, nil
	}
	if err != nil {
		return nil, err
	}
	c.Volume, c.Profile, c.Untraced = volumeID, p.name, ""
	if c.By == nil {
		c.By = map[reader]*readerCounts{}
	}
	return &lazyCounts{path: path, c: c, changed: true}, nil
}

func readCounts(path string) (volumeCounts, error) {
	var c volumeCounts
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read the counts in %s: %w", path, err)
	}
	return c, nil
}

// update changes the counts.
func (l *lazyCounts) update(change func(c *volumeCounts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
	change(&l.c)
}

func (c *volumeCounts) of(who reader) *readerCounts {
	if c.By[who] == nil {
		c.By[who] = &readerCounts{}
	}
	return c.By[who]
}

func (l *lazyCounts) waited() { l.update(func(c *volumeCounts) { c.Waited++ }) }

func (l *lazyCounts) fetching(n int64) {
	l.update(func(c *volumeCounts) {
		l.fetches += n
		c.MostFetches = max(c.MostFetches, l.fetches)
	})
}

func (l *lazyCounts) fetched(who reader, twice bool) {
	l.update(func(c *volumeCounts) {
		if twice {
			c.Twice++
		}
		by, now := c.of(who), time.Now()
		by.Fetched++
		if by.First.IsZero() {
			by.First = now
		}
		by.Last = now
	})
}

// request counts one request from its begin until the returned function is called.
func (l *lazyCounts) request(who reader, write bool, bytes int) (end func()) {
	began := time.Now()
	l.update(func(c *volumeCounts) {
		l.requests++
		c.MostRequests = max(c.MostRequests, l.requests)
	})
	return func() {
		took := time.Since(began)
		l.update(func(c *volumeCounts) {
			l.requests--
			by := c.of(who)
			if write {
				by.Writes++
				by.WrittenBytes += int64(bytes)
				return
			}
			by.Reads++
			by.ReadBytes += int64(bytes)
			by.Times.add(took)
		})
	}
}

// save writes the counts to their file if they have changed.
func (l *lazyCounts) save(blocks *blockMap) error {
	totals := blocks.totals()
	l.mu.Lock()
	if !l.changed {
		l.mu.Unlock()
		return nil
	}
	l.changed = false
	l.c.Blocks, l.c.Fetched = totals.data, totals.fetched
	l.c.Cold = totals.data - totals.warm
	l.c.Overwritten = totals.warm - totals.fetched
	for _, by := range l.c.By {
		by.Median, by.P99 = by.Times.quantile(0.5), by.Times.quantile(0.99)
	}
	data, err := json.MarshalIndent(l.c, "", "\t")
	l.mu.Unlock()
	if err == nil {
		err = os.WriteFile(l.path+".new", append(data, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(l.path+".new", l.path)
	}
	if err != nil {
		return fmt.Errorf("save the counts of %s: %w", l.c.Volume, err)
	}
	return nil
}

// durations is a histogram: the nth number counts durations of up to 50 µs × 2^(n/2).
type durations [44]int64

const shortest = 50 * time.Microsecond

func (d *durations) add(t time.Duration) {
	n := 0
	if t > shortest {
		n = int(math.Ceil(2 * math.Log2(float64(t)/float64(shortest))))
	}
	d[min(n, len(d)-1)]++
}

// quantile returns an upper bound of a quantile; "" without durations.
func (d *durations) quantile(q float64) string {
	var sum, passed int64
	for _, n := range d {
		sum += n
	}
	if sum == 0 {
		return ""
	}
	for n, count := range d {
		if passed += count; float64(passed) >= q*float64(sum) {
			bound := time.Duration(float64(shortest) * math.Exp2(float64(n)/2))
			return bound.Round(10 * time.Microsecond).String()
		}
	}
	return ""
}
