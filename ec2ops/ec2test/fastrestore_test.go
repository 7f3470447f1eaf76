package ec2test_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// restores returns the states of fast snapshot restore by zone.
func restores(t *testing.T, c *ec2.Client, snapshotID string) map[string]string {
	t.Helper()
	answer, err := c.DescribeFastSnapshotRestores(t.Context(), &ec2.DescribeFastSnapshotRestoresInput{
		Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: []string{snapshotID}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, r := range answer.FastSnapshotRestores {
		states[*r.AvailabilityZone] = string(r.State)
	}
	return states
}

func TestFastRestores(t *testing.T) {
	bubble(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
		snap, err := s.AddSnapshot(t.Context(), ec2test.Snapshot{Size: 5})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.EnableFastSnapshotRestores(t.Context(), &ec2.EnableFastSnapshotRestoresInput{
			SourceSnapshotIds: []string{snap}, AvailabilityZones: []string{"us-west-2c"},
		})
		if err != nil || len(out.Successful) != 1 || out.Successful[0].State != "enabling" {
			t.Fatalf("%+v, %v", out, err)
		}
		fast := func(zone string, rate *int32) bool {
			t.Helper()
			made, err := create(t, c, func(in *ec2.CreateVolumeInput) {
				in.ClientToken, in.SnapshotId, in.AvailabilityZone, in.VolumeInitializationRate = nil, &snap, &zone, rate
			})
			if err != nil {
				t.Fatal(err)
			}
			shown, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*made.VolumeId}})
			if err != nil || aws.ToBool(shown.Volumes[0].FastRestored) != aws.ToBool(made.FastRestored) ||
				aws.ToInt32(shown.Volumes[0].VolumeInitializationRate) != aws.ToInt32(rate) {
				t.Errorf("%+v is shown as %+v (%v)", made, shown, err)
			}
			return aws.ToBool(made.FastRestored)
		}
		if fast("us-west-2c", nil) {
			t.Error("fast before it is enabled")
		}
		wait(4 * time.Second)
		if got := restores(t, c, snap)["us-west-2c"]; got != "optimizing" {
			t.Errorf("%s, want optimizing", got)
		}
		wait(20 * time.Second) // 5 GiB at 60 min/TiB
		if got := restores(t, c, snap)["us-west-2c"]; got != "enabled" {
			t.Errorf("%s, want enabled", got)
		}
		if !fast("us-west-2c", nil) || fast("us-west-2a", nil) || fast("us-west-2c", aws.Int32(200)) {
			t.Error("only a volume in the enabled zone without a provisioned rate is fast")
		}
	})
}

func TestFastRestoresAreDisabled(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.EC2URL)
	snap := fake.AddSnapshot(ec2test.Snapshot{})
	enable := &ec2.EnableFastSnapshotRestoresInput{SourceSnapshotIds: []string{snap}, AvailabilityZoneIds: []string{"usw2-az3", "usw2-az1"}}
	if out, err := c.EnableFastSnapshotRestores(t.Context(), enable); err != nil || len(out.Successful) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := restores(t, c, snap); got["us-west-2c"] != "enabled" || got["us-west-2a"] != "enabled" {
		t.Errorf("got %v", got)
	}
	_, err := c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
	wantCode(t, err, "InvalidSnapshot.InUse")
	out, err := c.DisableFastSnapshotRestores(t.Context(), &ec2.DisableFastSnapshotRestoresInput{
		SourceSnapshotIds: []string{snap}, AvailabilityZones: []string{"us-west-2a", "us-west-2b", "us-west-2c"},
	})
	if err != nil || len(out.Successful) != 2 || out.Successful[0].State != "disabling" || len(out.Unsuccessful) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if failed := out.Unsuccessful[0]; *failed.SnapshotId != snap || *failed.FastSnapshotRestoreStateErrors[0].AvailabilityZone != "us-west-2b" ||
		failed.FastSnapshotRestoreStateErrors[0].Error.Message == nil {
		t.Errorf("%+v", failed)
	}
	_, err = c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
	wantCode(t, err, "ok")
	for _, bad := range []*ec2.EnableFastSnapshotRestoresInput{
		{SourceSnapshotIds: []string{snap}, AvailabilityZones: []string{"eu-west-1a"}},
		{SourceSnapshotIds: []string{snap}, AvailabilityZones: []string{"us-west-2a"}, AvailabilityZoneIds: []string{"usw2-az1"}},
		{SourceSnapshotIds: []string{"snap-0123456789abcdef0"}, AvailabilityZones: []string{"us-west-2a"}},
	} {
		if _, err := c.EnableFastSnapshotRestores(t.Context(), bad); code(err) == "ok" {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
