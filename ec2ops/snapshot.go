package ec2ops

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Snapshot states and storage tiers in EC2's own words.
const (
	SnapshotCompleted = string(types.SnapshotStateCompleted)
	SnapshotPending   = string(types.SnapshotStatePending)
	TierArchive       = string(types.StorageTierArchive)
)

// Snapshot of a volume.
type Snapshot struct {
	ID        string
	VolumeID  string // of which it was made; of a copy an arbitrary one
	Copy      bool   // made by CopySnapshot, as EC2 says
	State     string // pending, completed, error, recoverable, recovering
	Progress  string // "37%"
	Tier      string // standard or archive
	OwnerID   string
	Start     time.Time // the point in time it holds
	SizeGiB   int32     // of the volume it was made of
	Encrypted bool
	Tags      map[string]string
}

// Snapshots lists this account's snapshots with the tag Name=source, in every
// state and storage tier, in no order.
func (c *Client) Snapshots(ctx context.Context, source string) ([]Snapshot, error) {
	return c.SnapshotsTagged(ctx, TagName, source)
}

// SnapshotsTagged lists this account's snapshots with a tag, in every state and
// storage tier, in no order. Only "self" is asked for: without an owner EC2 also
// lists snapshots that strangers share or publish.
func (c *Client) SnapshotsTagged(ctx context.Context, key, value string) ([]Snapshot, error) {
	in := &ec2.DescribeSnapshotsInput{
		OwnerIds:   []string{"self"},
		Filters:    []types.Filter{filter("tag:"+key, value)},
		MaxResults: aws.Int32(1000),
	}
	return call(ctx, c, "DescribeSnapshots", "tagged "+key+"="+value, func(ctx context.Context) ([]Snapshot, error) {
		var all []Snapshot
		for pages := ec2.NewDescribeSnapshotsPaginator(c.ec2, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, s := range page.Snapshots {
				all = append(all, snapshotOf(s))
			}
		}
		return all, nil
	})
}

// DeleteSnapshot deletes a snapshot. One that EC2 no longer knows is no error.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	_, err := call(ctx, c, "DeleteSnapshot", id, func(ctx context.Context) (*ec2.DeleteSnapshotOutput, error) {
		return c.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	})
	return ignoreNotFound(err)
}

func snapshotOf(s types.Snapshot) Snapshot {
	return Snapshot{
		ID:        aws.ToString(s.SnapshotId),
		VolumeID:  aws.ToString(s.VolumeId),
		Copy:      s.TransferType != "", // "only for snapshot copies" (Snapshot, API reference)
		State:     string(s.State),
		Progress:  aws.ToString(s.Progress),
		Tier:      string(s.StorageTier),
		OwnerID:   aws.ToString(s.OwnerId),
		Start:     aws.ToTime(s.StartTime),
		SizeGiB:   aws.ToInt32(s.VolumeSize),
		Encrypted: aws.ToBool(s.Encrypted),
		Tags:      tagMap(s.Tags),
	}
}
