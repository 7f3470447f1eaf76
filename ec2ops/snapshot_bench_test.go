package ec2ops_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// BenchmarkSnapshots shows how the list of a source's snapshots grows with their
// number: requests to EC2, and our own time with an EC2 that answers at once.
func BenchmarkSnapshots(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			fake := ec2test.New(b, ec2test.Options{})
			for range n {
				fake.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-time.Hour), Tags: ec2test.Tags{"Name": "app"}})
			}
			for _, kv := range fake.Launch("web-1").Env() {
				k, v, _ := strings.Cut(kv, "=")
				b.Setenv(k, v)
			}
			c, err := ec2ops.New(b.Context(), ec2ops.Options{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Identify(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
			before := len(fake.Calls())
			rounds := 0
			for b.Loop() {
				all, err := c.Snapshots(b.Context(), "app")
				if err != nil || len(all) != n {
					b.Fatalf("%d snapshots, %v; want %d", len(all), err, n)
				}
				rounds++
			}
			b.ReportMetric(float64(len(fake.Calls())-before)/float64(rounds), "requests/op")
		})
	}
}
