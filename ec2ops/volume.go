package ec2ops

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Volume and attachment states in EC2's own words.
const (
	VolumeCreating  = string(types.VolumeStateCreating)
	VolumeAvailable = string(types.VolumeStateAvailable)
	VolumeInUse     = string(types.VolumeStateInUse)
	VolumeDeleting  = string(types.VolumeStateDeleting)
	VolumeDeleted   = string(types.VolumeStateDeleted)
	VolumeError     = string(types.VolumeStateError)

	Attaching = string(types.VolumeAttachmentStateAttaching)
	Attached  = string(types.VolumeAttachmentStateAttached)
	Detaching = string(types.VolumeAttachmentStateDetaching)
	Detached  = string(types.VolumeAttachmentStateDetached)
	Busy      = string(types.VolumeAttachmentStateBusy)
)

// GiB in bytes: EC2 counts volume sizes in GiB.
const GiB = int64(1) << 30

// Attachment of a volume to an instance.
type Attachment struct {
	InstanceID          string
	Device              string // EC2's device name: "/dev/sdf"
	State               string // attaching, attached, detaching, detached, busy
	DeleteOnTermination bool
}

// Volume is an EBS volume.
type Volume struct {
	ID          string
	State       string // creating, available, in-use, deleting, deleted, error
	Zone        string
	SnapshotID  string // "" for a volume that began blank
	SizeGiB     int32
	Type        string
	Created     time.Time
	Age         time.Duration // when [Client.CreateVolume] gave it, by EC2's own clock; 0 otherwise
	Encrypted   bool
	KMSKey      string // its ARN, where EC2 tells it
	Tags        map[string]string
	Attachments []Attachment
}

// Bytes is the volume's size in bytes.
func (v Volume) Bytes() int64 { return int64(v.SizeGiB) * GiB }

// Gone says whether EC2 has deleted the volume or is about to.
func (v Volume) Gone() bool { return v.State == VolumeDeleting || v.State == VolumeDeleted }

// AttachmentTo gives the volume's attachment to an instance, if it has one that
// is not over.
func (v Volume) AttachmentTo(instanceID string) (Attachment, bool) {
	for _, a := range v.Attachments {
		if a.InstanceID == instanceID && a.State != Detached {
			return a, true
		}
	}
	return Attachment{}, false
}

// String tells the volume's states: "in-use, attaching to i-0abc as /dev/sdf".
func (v Volume) String() string {
	var b strings.Builder
	b.WriteString(v.State)
	for _, a := range v.Attachments {
		fmt.Fprintf(&b, ", %s to %s as %s", a.State, a.InstanceID, a.Device)
	}
	return b.String()
}

// VolumeSpec is what [Client.CreateVolume] asks for.
type VolumeSpec struct {
	Zone               string
	SnapshotID         string // "" for a blank volume
	SizeGiB            int32  // 0: the snapshot's
	Type               string // "gp3"
	IOPS               int32  // 0: the type's default
	Throughput         int32  // MiB/s, gp3 only; 0: the default
	Encrypted          bool   // false: as the snapshot and the account say
	KMSKey             string
	InitializationRate int32 // MiB/s at which EC2 loads the snapshot's blocks; 0: EC2's own pace
	Tags               map[string]string
	Token              string // see [Token]
}

// Token gives the client token for a source's volume on an instance: the same
// input always gives the same token, so a repeated or retried CreateVolume can't
// make a second volume. EC2 takes at most 64 ASCII characters, which is the
// length of a SHA-256 in hexadecimal.
func Token(instanceID, zone, source string, generation int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "snapsource\x00%s\x00%s\x00%s\x00%d", instanceID, zone, source, generation))
	return hex.EncodeToString(sum[:])
}

// CreateVolume asks EC2 for a volume; tags and token go with the same call. The
// volume that is returned is usually still creating; for a token that was used before it
// is that of the first call, as it is now or was then. [ErrTokenMismatch] says that the
// token once asked for something else, or that its volume is gone.
func (c *Client) CreateVolume(ctx context.Context, s VolumeSpec) (Volume, error) {
	in := &ec2.CreateVolumeInput{
		AvailabilityZone:         aws.String(s.Zone),
		ClientToken:              aws.String(s.Token),
		SnapshotId:               ptrUnlessZero(s.SnapshotID),
		Size:                     ptrUnlessZero(s.SizeGiB),
		VolumeType:               types.VolumeType(s.Type),
		Iops:                     ptrUnlessZero(s.IOPS),
		Throughput:               ptrUnlessZero(s.Throughput),
		Encrypted:                ptrUnlessZero(s.Encrypted),
		KmsKeyId:                 ptrUnlessZero(s.KMSKey),
		VolumeInitializationRate: ptrUnlessZero(s.InitializationRate),
		TagSpecifications:        []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tagList(s.Tags)}},
	}
	from := "blank, for " + s.Tags[TagSource]
	if s.SnapshotID != "" {
		from = "from " + s.SnapshotID
	}
	out, err := call(ctx, c, "CreateVolume", from, func(ctx context.Context) (*ec2.CreateVolumeOutput, error) {
		return c.ec2.CreateVolume(ctx, in, func(o *ec2.Options) {
			if s.InitializationRate != 0 { // without it there may be capacity
				o.Retryer = c.newRetryer("InsufficientVolumeCapacity")
			}
		})
	})
	if err != nil {
		return Volume{}, err
	}
	return Volume{
		ID: aws.ToString(out.VolumeId), State: string(out.State), Zone: aws.ToString(out.AvailabilityZone),
		SnapshotID: aws.ToString(out.SnapshotId), SizeGiB: aws.ToInt32(out.Size), Type: string(out.VolumeType),
		Created: aws.ToTime(out.CreateTime), Age: ageOf(out), Encrypted: aws.ToBool(out.Encrypted), KMSKey: aws.ToString(out.KmsKeyId),
		Tags: tagMap(out.Tags), Attachments: attachmentsOf(out.Attachments),
	}, nil
}

// ageOf is how long before its answer EC2 made the volume, 0 if it does not tell. The
// answer's Date is EC2's own time: this host's clock may not be set yet.
func ageOf(out *ec2.CreateVolumeOutput) time.Duration {
	now, told := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !told || out.CreateTime == nil {
		return 0
	}
	return max(0, now.Sub(*out.CreateTime))
}

// some gives nil for a zero value: EC2 takes an absent parameter for its default.
func ptrUnlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// Volume describes one volume. [ErrNotFound] when EC2 does not know it (yet).
func (c *Client) Volume(ctx context.Context, id string) (Volume, error) {
	out, err := call(ctx, c, "DescribeVolumes", id, func(ctx context.Context) (*ec2.DescribeVolumesOutput, error) {
		return c.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	})
	if err != nil {
		return Volume{}, err
	}
	for _, v := range out.Volumes {
		if aws.ToString(v.VolumeId) == id {
			return volumeOf(v), nil
		}
	}
	return Volume{}, &APIError{
		Action: "ec2:DescribeVolumes", Resource: id, Kind: ErrNotFound,
		Message: "EC2's answer does not hold it", Err: ErrNotFound,
	}
}

// Volumes lists the volumes that were made for this source on this instance, by
// their tags, in every state that EC2 still shows, in no order.
func (c *Client) Volumes(ctx context.Context, instanceID, source string) ([]Volume, error) {
	return c.volumes(ctx, "of "+source+" for "+instanceID, filter("tag:"+TagInstance, instanceID), filter("tag:"+TagSource, source))
}

// VolumesOf lists the volumes that were made for a source on any instance.
func (c *Client) VolumesOf(ctx context.Context, source string) ([]Volume, error) {
	return c.volumes(ctx, "of "+source, filter("tag:"+TagSource, source))
}

func (c *Client) volumes(ctx context.Context, what string, filters ...types.Filter) ([]Volume, error) {
	in := &ec2.DescribeVolumesInput{Filters: filters, MaxResults: aws.Int32(500)}
	return call(ctx, c, "DescribeVolumes", what, func(ctx context.Context) ([]Volume, error) {
		var all []Volume
		for pages := ec2.NewDescribeVolumesPaginator(c.ec2, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, v := range page.Volumes {
				all = append(all, volumeOf(v))
			}
		}
		return all, nil
	})
}

// VolumesWithin is [Client.Volumes], repeated for as long as d while the list is
// empty: a volume made a moment ago may be missing from it.
func (c *Client) VolumesWithin(ctx context.Context, instanceID, source string, d time.Duration) ([]Volume, error) {
	until := time.Now().Add(d)
	pause := c.newPollDelay("volumes", firstPoll, lastPoll)
	for {
		all, err := c.Volumes(ctx, instanceID, source)
		if err != nil || len(all) > 0 || !time.Now().Before(until) {
			return all, err
		}
		if err := pause.sleep(ctx); err != nil {
			return nil, fmt.Errorf("wait for the volumes of %s: %w: %w", source, ErrTemporary, err)
		}
	}
}

// DeleteVolume deletes a volume that is attached nowhere. A volume that EC2 no
// longer knows, or is deleting already, is no error.
func (c *Client) DeleteVolume(ctx context.Context, id string) error {
	_, err := call(ctx, c, "DeleteVolume", id, func(ctx context.Context) (*ec2.DeleteVolumeOutput, error) {
		return c.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(id)})
	})
	var api *APIError
	if errors.As(err, &api) && errors.Is(err, ErrNotReady) && strings.Contains(api.Message, VolumeDeleting) {
		return nil // an earlier call is still at it
	}
	return ignoreNotFound(err)
}

func volumeOf(v types.Volume) Volume {
	return Volume{
		ID: aws.ToString(v.VolumeId), State: string(v.State), Zone: aws.ToString(v.AvailabilityZone),
		SnapshotID: aws.ToString(v.SnapshotId), SizeGiB: aws.ToInt32(v.Size), Type: string(v.VolumeType),
		Created: aws.ToTime(v.CreateTime), Encrypted: aws.ToBool(v.Encrypted), KMSKey: aws.ToString(v.KmsKeyId),
		Tags: tagMap(v.Tags), Attachments: attachmentsOf(v.Attachments),
	}
}
