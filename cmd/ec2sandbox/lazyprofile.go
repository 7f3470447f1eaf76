//go:build linux

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// lazyProfile says how a volume that was created from a snapshot loads its data, and how long
// a request takes.
type lazyProfile struct {
	name    string
	cold    bool          // blocks are fetched at their first use
	fetches int           // at once, for each volume
	median  time.Duration // of a fetch
	p99     time.Duration // of a fetch
	// prefetch is the number of blocks that are fetched after each one that was asked for.
	prefetch int
	latency  time.Duration // of each request
}

// The profile "ebs". AWS publishes no figures for the default rate: it "fluctuates". (EBS user
// guide, "Initialize Amazon EBS volumes")
const (
	// One reader with one request in flight gets 4.9 MiB/s from cold blocks: 512 KiB in 103 ms,
	// the mean of the log-normal distribution with this median and 99th percentile. Reported
	// are about 5 MiB/s (terraform-aws-github-runner#5163) and, for a buffered reader in 2016, 2
	// to 3 MB/s (osrm-backend#3407). The distribution's width has no published source: an
	// object store's 99th percentile is commonly three to four times its median.
	ebsMedian = 90 * time.Millisecond
	ebsP99    = 300 * time.Millisecond
	// With 64 at once the ceiling is 311 MiB/s. 300 MiB/s is the highest rate that EBS sells
	// for a volume's initialization (CreateVolume, API reference); that is assumed to be about
	// what S3 gives one volume, and that the number of requests sets it: AWS recommends fio
	// with 32 requests of 1 MiB in flight, 64 blocks, to initialize a volume. (EBS user guide,
	// "Initialize Amazon EBS volumes")
	ebsFetches = 64
	// EBS promises "single-digit millisecond latency"; fio with one request of 4 KiB in flight
	// measured 0.59 to 0.64 ms on average. (buildkite/elastic-ci-stack-for-aws#682)
	ebsLatency = 600 * time.Microsecond
)

// normal99 is the number of standard deviations between the median and the 99th percentile.
const normal99 = 2.326

var (
	ebsProfile = lazyProfile{
		name: "ebs", cold: true, fetches: ebsFetches, median: ebsMedian, p99: ebsP99, latency: ebsLatency,
	}
	warmProfile = lazyProfile{name: "none", fetches: ebsFetches, median: ebsMedian, p99: ebsP99, latency: ebsLatency}
)

// parseLazy reads a profile: "ebs", "none", or a list of key=value that changes ebs.
func parseLazy(s string) (lazyProfile, error) {
	switch s {
	case "ebs":
		return ebsProfile, nil
	case "none":
		return warmProfile, nil
	}
	p := ebsProfile
	p.name = s
	narrow := false
	given := map[string]bool{}
	for _, setting := range strings.Split(s, ",") {
		key, value, has := strings.Cut(setting, "=")
		if given[key] {
			return p, fmt.Errorf("profile: %s is given twice", key)
		}
		given[key] = true
		if !has {
			return p, fmt.Errorf("profile %q is none of ebs, none and a list of key=value", setting)
		}
		var err error
		switch key {
		case "fetches":
			p.fetches, err = count(value, 1)
		case "prefetch":
			p.prefetch, err = count(value, 0)
		case "median":
			p.median, err = duration(value)
			narrow = true
		case "p99":
			p.p99, err = duration(value)
			narrow = false
		case "latency":
			p.latency, err = duration(value)
		default:
			err = fmt.Errorf("key %q is none of fetches, median, p99, prefetch, latency", key)
		}
		if err != nil {
			return p, fmt.Errorf("profile: %w", err)
		}
	}
	if narrow { // the same width around another median
		p.p99 = time.Duration(float64(p.median) * float64(ebsP99) / float64(ebsMedian))
	}
	if p.p99 < p.median {
		return p, fmt.Errorf("profile: the 99th percentile, %v, is less than the median, %v", p.p99, p.median)
	}
	return p, nil
}

// maxCount bounds the counts of a profile.
const maxCount = 4096

func count(s string, least int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > maxCount {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, least, maxCount)
	}
	return n, nil
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("duration %q is negative", s)
	}
	return d, err
}

// delay returns the duration of a block's fetch. It depends on the seed and the block alone,
// not on the order of requests.
func (p lazyProfile) delay(seed uint64, block int64) time.Duration {
	if p.median == 0 {
		return 0
	}
	sigma := math.Log(float64(p.p99)/float64(p.median)) / normal99
	draw := rand.New(rand.NewPCG(seed, uint64(block))).NormFloat64()
	return time.Duration(float64(p.median) * math.Exp(sigma*draw))
}
