package ec2test_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// bubble runs a test in a synctest bubble with a server and its first instance,
// which is running.
func bubble(t *testing.T, o ec2test.Options, test func(t *testing.T, s *ec2test.Server, i ec2test.Instance, c *ec2.Client)) {
	synctest.Test(t, func(t *testing.T) {
		s := ec2test.NewServer(o)
		i, err := s.Launch(t.Context(), "web-1", ec2test.LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Second)
		test(t, s, i, piped(t, s, i.ID))
	})
}

// TestLatencySeed: with a seed of their own, what an action takes is the same on another
// server, whatever else is asked there before.
func TestLatencySeed(t *testing.T) {
	took := func(seed, times uint64, others int) (call, volume time.Duration) {
		bubble(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed, LatencySeed: times}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
			for range others {
				if _, err := c.DescribeVolumes(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			v, err := create(t, c, nil)
			if err != nil {
				t.Fatal(err)
			}
			call = time.Since(began)
			made, _, err := s.Volume(t.Context(), *v.VolumeId)
			if err != nil {
				t.Fatal(err)
			}
			volume = made.Available.Sub(made.Created)
		})
		return call, volume
	}
	call, volume := took(1, 7, 0)
	if c, v := took(2, 7, 3); c != call || v != volume {
		t.Errorf("CreateVolume took %s and its volume %s, on another server %s and %s", call, volume, c, v)
	}
	if c, v := took(1, 8, 0); c == call || v == volume {
		t.Errorf("CreateVolume took %s and its volume %s with another seed too", c, v)
	}
}

func TestVolumeLife(t *testing.T) {
	bubble(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1}, func(t *testing.T, s *ec2test.Server, i ec2test.Instance, c *ec2.Client) {
		v, err := create(t, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		id := *v.VolumeId
		expect := func(want string) {
			t.Helper()
			if got := volumeState(t, c, id); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		attach := func() error {
			_, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{
				VolumeId: v.VolumeId, InstanceId: aws.String(i.ID), Device: aws.String("/dev/sdf"),
			})
			return err
		}
		if v.State != "creating" {
			t.Errorf("CreateVolume answers %s, want creating", v.State)
		}
		expect("creating")
		wantCode(t, attach(), "IncorrectState")
		wait(10 * time.Second)
		expect("available")
		wantCode(t, attach(), "ok")
		expect("in-use attaching")
		wait(3 * time.Second)
		expect("in-use attached")
		_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: v.VolumeId})
		wantCode(t, err, "VolumeInUse")
		_, err = c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: v.VolumeId})
		wantCode(t, err, "ok")
		expect("in-use detaching")
		wait(4 * time.Second)
		expect("available")
		_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: v.VolumeId})
		wantCode(t, err, "ok")
		expect("deleting")
		wait(6 * time.Second)
		expect("gone")
	})
}

func TestSnapshotLife(t *testing.T) {
	bubble(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
		id, err := s.AddVolume(t.Context(), ec2test.Volume{Size: 7})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := c.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String(id)})
		if err != nil {
			t.Fatal(err)
		}
		wait(2 * time.Second)
		describe := func() (state, progress string) {
			answer, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
			if err != nil || len(answer.Snapshots) != 1 {
				t.Fatalf("%d snapshots (%v)", len(answer.Snapshots), err)
			}
			return string(answer.Snapshots[0].State), *answer.Snapshots[0].Progress
		}
		if state, progress := describe(); state != "pending" || progress == "0%" || progress == "100%" {
			t.Errorf("after two seconds: %s %s, want pending and on the way", state, progress)
		}
		from := func(in *ec2.CreateVolumeInput) { in.SnapshotId, in.Size = snap.SnapshotId, nil }
		_, err = create(t, c, from)
		wantCode(t, err, "IncorrectState")
		wait(10 * time.Second)
		if state, progress := describe(); state != "completed" || progress != "100%" {
			t.Errorf("after ten seconds more: %s %s, want completed", state, progress)
		}
		v, err := create(t, c, from)
		if err != nil {
			t.Fatal(err)
		}
		if *v.Size != 7 {
			t.Errorf("the volume from it has %d GiB, want the snapshot's 7", *v.Size)
		}
	})
}

func TestClientToken(t *testing.T) {
	bubble(t, ec2test.Options{KMSKeys: []string{"good"}}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
		first, err := create(t, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := create(t, c, nil)
		if err != nil || *again.VolumeId != *first.VolumeId || again.State != "available" {
			t.Errorf("the same call again: %v (%v), want %s, available", again, err, *first.VolumeId)
		}
		_, err = create(t, c, func(in *ec2.CreateVolumeInput) { in.Size = aws.Int32(6) })
		wantCode(t, err, "IdempotentParameterMismatch")
		other, err := create(t, c, func(in *ec2.CreateVolumeInput) { in.ClientToken = aws.String("other") })
		if err != nil || *other.VolumeId == *first.VolumeId {
			t.Errorf("another token: %v (%v), want another volume", other, err)
		}
		if _, err := c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: first.VolumeId}); err != nil {
			t.Fatal(err)
		}
		if again, err = create(t, c, nil); err != nil || *again.VolumeId != *first.VolumeId || again.State != "deleted" {
			t.Errorf("after the deletion: %v (%v), want %s, deleted", again, err, *first.VolumeId)
		}
		burned := func(in *ec2.CreateVolumeInput) {
			in.ClientToken, in.Encrypted, in.KmsKeyId = aws.String("burned"), aws.Bool(true), aws.String("bad")
		}
		doomed, err := create(t, c, burned)
		if err != nil {
			t.Fatal(err)
		}
		if got := volumeState(t, c, *doomed.VolumeId); got != "gone" {
			t.Errorf("a volume with a key that does not exist is %s, want gone", got)
		}
		_, err = create(t, c, burned)
		wantCode(t, err, "IdempotentParameterMismatch")
		wait(13 * time.Hour)
		if again, err = create(t, c, nil); err != nil || *again.VolumeId == *first.VolumeId {
			t.Errorf("13 hours later: %v (%v), want a new volume", again, err)
		}
	})
}

func TestVisibility(t *testing.T) {
	bubble(t, ec2test.Options{Visibility: 3 * time.Second}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
		v, err := create(t, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := volumeState(t, c, *v.VolumeId); got != "gone" {
			t.Errorf("at once: %s, want not found", got)
		}
		wait(3 * time.Second)
		if got := volumeState(t, c, *v.VolumeId); got != "available" {
			t.Errorf("three seconds later: %s, want available", got)
		}
	})
}

func TestTermination(t *testing.T) {
	bubble(t, ec2test.Options{}, func(t *testing.T, s *ec2test.Server, i ec2test.Instance, c *ec2.Client) {
		var ids []string
		for _, device := range []string{"/dev/sdf", "/dev/sdg"} {
			id, err := s.AddVolume(t.Context(), ec2test.Volume{})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
			if _, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{
				VolumeId: aws.String(id), InstanceId: aws.String(i.ID), Device: aws.String(device),
			}); err != nil {
				t.Fatal(err)
			}
		}
		modify(t, c, i.ID, "/dev/sdg", nil)
		if err := s.Terminate(t.Context(), i.ID); err != nil {
			t.Fatal(err)
		}
		operator := piped(t, s, "")
		for n, want := range []string{"available", "gone"} {
			if got := volumeState(t, operator, ids[n]); got != want {
				t.Errorf("volume %d is %s, want %s", n, got, want)
			}
		}
		if got := volumeState(t, operator, i.RootVolumeID); got != "gone" {
			t.Errorf("the root volume is %s, want gone", got)
		}
	})
}

// TestLag: what a call changes is shown as it was for a while, and the actions know better.
func TestLag(t *testing.T) {
	connect(t, "lag=*:10s", func(t *testing.T, fake *ec2test.Fake, web *ec2test.Host, c *ec2.Client) {
		id := fake.AddVolume(ec2test.Volume{})
		if _, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &web.ID, Device: aws.String("/dev/sdf")}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{web.ID}, Tags: []types.Tag{{Key: aws.String("Roles"), Value: aws.String("app")}}}); err != nil {
			t.Fatal(err)
		}
		look := func() (state types.VolumeState, attachments, roles, mapped int) {
			v, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
			if err != nil {
				t.Fatal(err)
			}
			i, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{web.ID}})
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range i.Reservations[0].Instances[0].Tags {
				if *tag.Key == "Roles" {
					roles++
				}
			}
			return v.Volumes[0].State, len(v.Volumes[0].Attachments), roles, len(i.Reservations[0].Instances[0].BlockDeviceMappings)
		}
		if state, attachments, roles, mapped := look(); state != "available" || attachments != 0 || roles != 0 || mapped != 1 {
			t.Errorf("at once: %s, %d attachments, %d roles, %d mapped", state, attachments, roles, mapped)
		}
		if _, err := c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &id}); code(err) != "VolumeInUse" {
			t.Errorf("delete what is shown as available: %v", err)
		}
		time.Sleep(10 * time.Second)
		if state, attachments, roles, mapped := look(); state != "in-use" || attachments != 1 || roles != 1 || mapped != 2 {
			t.Errorf("later: %s, %d attachments, %d roles, %d mapped", state, attachments, roles, mapped)
		}
	})
}

// TestCopySnapshot: a copy begins when it is made, says that it is one, and has no tags
// but its own.
func TestCopySnapshot(t *testing.T) {
	connect(t, "delay=DescribeTags:1s", func(t *testing.T, fake *ec2test.Fake, _ *ec2test.Host, c *ec2.Client) {
		id := fake.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
		time.Sleep(time.Minute)
		made, err := c.CopySnapshot(t.Context(), &ec2.CopySnapshotInput{SourceSnapshotId: &id, SourceRegion: aws.String("us-west-2")})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id, *made.SnapshotId}})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Snapshots {
			if isCopy := *s.SnapshotId != id; (s.TransferType != "") != isCopy || (len(s.Tags) == 0) != isCopy || (*s.VolumeId == "vol-ffffffff") != isCopy {
				t.Errorf("%+v", s)
			}
		}
	})
}
