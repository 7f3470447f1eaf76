package ec2ops_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// TestLaunches: one call shows who was launched in the minutes that are asked for, and
// whether that is all.
func TestLaunches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := ec2test.NewInMemory(t, ec2test.Options{})
		early := fake.Launch("early").ID
		time.Sleep(90 * time.Second)
		c, self := connect(t, fake)
		want := []string{self.InstanceID}
		for n := range 20 {
			want = append(want, fake.Launch(fmt.Sprintf("web-%d", n+2)).ID)
		}
		fake.LaunchWith("other", ec2test.LaunchOptions{Image: "ami-0123456789abcdef0"})
		gone := fake.Launch("gone").ID
		if err := fake.Server.Terminate(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		list := func(from time.Time, endings string) []string {
			t.Helper()
			launches, whole, err := c.Launches(t.Context(), self.ImageID, from, time.Now(), endings)
			if err != nil || !whole {
				t.Fatalf("whole %v, %v", whole, err)
			}
			var ids []string
			for _, l := range launches {
				ids = append(ids, l.ID)
				if since := time.Since(l.At); since < 0 || since > 2*time.Minute {
					t.Errorf("%s was launched %s ago", l.ID, since)
				}
			}
			slices.Sort(ids)
			return ids
		}
		slices.Sort(want)
		if got := list(self.Launched, ""); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := list(self.Launched.Add(-90*time.Second), ""); len(got) != len(want)+1 || !slices.Contains(got, early) {
			t.Errorf("with the minutes before: got %v, want %s too", got, early)
		}
		var parts []string
		for digit := range 10 {
			part := list(self.Launched, fmt.Sprint(digit))
			if mine := strings.HasSuffix(self.PrivateIP.String(), fmt.Sprint(digit)); slices.Contains(part, self.InstanceID) != mine {
				t.Errorf("digit %d: %s is in %v: want %v", digit, self.PrivateIP, part, mine)
			}
			parts = append(parts, part...)
		}
		if slices.Sort(parts); !slices.Equal(parts, want) {
			t.Errorf("by last digits: got %v, want %v", parts, want)
		}
		if calls := fake.Calls(); len(calls) != 12 {
			t.Errorf("%d calls, want one each", len(calls))
		}
	})
}

// TestLaunchesMax: a page does not hold all.
func TestLaunchesMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := ec2test.NewInMemory(t, ec2test.Options{})
		c, self := connect(t, fake)
		for n := range ec2ops.LaunchesMax {
			fake.Launch(fmt.Sprintf("web-%d", n+2))
		}
		launches, whole, err := c.Launches(t.Context(), self.ImageID, self.Launched, time.Now(), "")
		if err != nil || whole || len(launches) != ec2ops.LaunchesMax {
			t.Errorf("%d launches, whole %v, %v; want %d and not whole", len(launches), whole, err, ec2ops.LaunchesMax)
		}
	})
}

// TestOnce: a throttled call is retried, except in the context of WithoutThrottleRetries.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := ec2test.NewInMemory(t, ec2test.Options{Faults: []ec2test.Fault{
			{Effect: ec2test.Fail, Action: "DescribeVolumes", Nth: 2, Code: "RequestLimitExceeded"},
			{Effect: ec2test.Fail, Action: "DescribeVolumes", Nth: 3, Code: "RequestLimitExceeded"},
			{Effect: ec2test.Fail, Action: "DescribeSnapshots", Nth: 1, Code: "InternalError"},
		}})
		c, self := connect(t, fake)
		once := ec2ops.WithoutThrottleRetries(t.Context())
		if _, err := c.Volumes(once, self.InstanceID, "app"); err != nil {
			t.Error(err)
		}
		if _, err := c.Snapshots(once, "app"); err != nil {
			t.Errorf("another failure: %v, want that it is tried again", err)
		}
		if c.Throttled() {
			t.Error("throttled before any call was refused")
		}
		if _, err := c.Volumes(once, self.InstanceID, "app"); !errors.Is(err, ec2ops.ErrThrottled) || !errors.Is(err, ec2ops.ErrTemporary) {
			t.Errorf("refused: %v, want throttled", err)
		}
		if _, err := c.Volumes(t.Context(), self.InstanceID, "app"); err != nil {
			t.Errorf("refused at first: %v", err)
		}
		if !c.Throttled() {
			t.Error("not throttled after calls were refused")
		}
		if calls := fake.Calls(); len(calls) != 6 {
			t.Errorf("%d calls, want 6", len(calls))
		}
	})
}
