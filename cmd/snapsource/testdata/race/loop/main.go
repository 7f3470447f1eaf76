// Loop does what snapsource up does on a new instance with the same SDK, and waits as
// its like do: with a poll every 2 s, or with the SDK's waiters.
//
//	loop poll|waiter
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sys/unix"
)

const (
	source = "codepen-app"
	device = "/dev/sdf"
	mount  = "/cp"
	target = "/home/deploy/codepen"
	role   = "app"

	// every and tries are common in such tools: 30 polls, one every 2 s.
	every = 2 * time.Second
	tries = 30
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1] == "waiter"); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, waiter bool) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	self, err := imds.NewFromConfig(cfg).GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return err
	}
	client := ec2.NewFromConfig(cfg)

	newest, err := newestSnapshot(ctx, client)
	if err != nil {
		return err
	}
	made, err := client.CreateVolume(ctx, &ec2.CreateVolumeInput{
		AvailabilityZone: &self.AvailabilityZone, SnapshotId: newest.SnapshotId, VolumeType: types.VolumeTypeGp3,
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String(source)}},
		}},
	})
	if err != nil {
		return err
	}
	in := &ec2.DescribeVolumesInput{VolumeIds: []string{*made.VolumeId}}
	if waiter {
		err = ec2.NewVolumeAvailableWaiter(client).Wait(ctx, in, 5*time.Minute)
	} else {
		err = poll(ctx, func() (bool, error) {
			out, err := client.DescribeVolumes(ctx, in)
			return err == nil && out.Volumes[0].State == types.VolumeStateAvailable, err
		})
	}
	if err != nil {
		return err
	}
	if _, err := client.AttachVolume(ctx, &ec2.AttachVolumeInput{
		VolumeId: made.VolumeId, InstanceId: &self.InstanceID, Device: aws.String(device),
	}); err != nil {
		return err
	}
	if waiter {
		if err := ec2.NewVolumeInUseWaiter(client).Wait(ctx, in, 5*time.Minute); err != nil {
			return err
		}
	}
	link := filepath.Join("/dev/disk/by-id", "nvme-Amazon_Elastic_Block_Store_"+strings.Replace(*made.VolumeId, "-", "", 1))
	if err := poll(ctx, func() (bool, error) {
		_, err := os.Stat(link)
		return err == nil, nil
	}); err != nil {
		return err
	}
	if err := mountAndBind(link); err != nil {
		return err
	}
	return announce(ctx, client, self.InstanceID)
}

// newestSnapshot returns the newest completed snapshot of the source.
func newestSnapshot(ctx context.Context, client *ec2.Client) (none types.Snapshot, err error) {
	found, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"},
		Filters: []types.Filter{
			{Name: aws.String("tag:Name"), Values: []string{source}},
			{Name: aws.String("status"), Values: []string{"completed"}},
		},
	})
	if err != nil {
		return none, err
	}
	if len(found.Snapshots) == 0 {
		return none, errors.New("no snapshot")
	}
	return slices.MaxFunc(found.Snapshots, func(a, b types.Snapshot) int { return a.StartTime.Compare(*b.StartTime) }), nil
}

// announce sets delete-on-termination and the role tag.
func announce(ctx context.Context, client *ec2.Client, instanceID string) error {
	if _, err := client.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
		InstanceId: &instanceID,
		BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{{
			DeviceName: aws.String(device), Ebs: &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(true)},
		}},
	}); err != nil {
		return err
	}
	_, err := client.CreateTags(ctx, &ec2.CreateTagsInput{
		Resources: []string{instanceID}, Tags: []types.Tag{{Key: aws.String("Roles"), Value: aws.String(role)}},
	})
	return err
}

func poll(ctx context.Context, done func() (bool, error)) error {
	for range tries {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
	return fmt.Errorf("not done within %d looks", tries)
}

func mountAndBind(link string) error {
	node, err := filepath.EvalSymlinks(link)
	if err != nil {
		return err
	}
	for _, dir := range []string{mount, target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(node, mount, "xfs", unix.MS_NOATIME, "nouuid"); err != nil {
		return err
	}
	return unix.Mount(filepath.Join(mount, "codepen"), target, "", unix.MS_BIND, "")
}
