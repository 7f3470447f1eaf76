package ec2ops

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
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

// GiB is in bytes. EC2 gives volume sizes in GiB.
const GiB = int64(1) << 30

// Attachment is the attachment of a volume to an instance.
type Attachment struct {
	InstanceID          string
	Device              string // EC2's device name: "/dev/sdf"
	State               string // attaching, attached, detaching, detached, busy
	DeleteOnTermination bool
	Time                time.Time // when the attachment was requested; zero if unknown
}

// Volume is an EBS volume.
type Volume struct {
	ID         string
	State      string // creating, available, in-use, deleting, deleted, error
	Zone       string
	SnapshotID string // "" for a volume created blank
	SizeGiB    int32
	Type       string
	IOPS       int32 // 0 for types that have none
	Throughput int32 // MiB/s; gp3 only, else 0
	Created    time.Time
	Age        time.Duration // at the response of [Client.CreateVolume], by EC2's clock; 0 otherwise
	Encrypted  bool
	KMSKey     string // its ARN, if EC2 reports it

	FastRestored       bool  // by fast snapshot restore: all blocks are loaded
	InitializationRate int32 // MiB/s at which EC2 loads the snapshot's blocks; 0: none is provisioned

	Tags        map[string]string
	Attachments []Attachment
}

// Bytes returns the volume's size in bytes.
func (v Volume) Bytes() int64 { return int64(v.SizeGiB) * GiB }

// Gone says whether the volume is deleted or being deleted.
func (v Volume) Gone() bool { return v.State == VolumeDeleting || v.State == VolumeDeleted }

// AttachmentTo returns the volume's attachment to an instance, unless it is detached.
func (v Volume) AttachmentTo(instanceID string) (Attachment, bool) {
	for _, a := range v.Attachments {
		if a.InstanceID == instanceID && a.State != Detached {
			return a, true
		}
	}
	return Attachment{}, false
}

// String describes the volume's states: "in-use, attaching to i-0abc as /dev/sdf".
func (v Volume) String() string {
	var b strings.Builder
	b.WriteString(v.State)
	for _, a := range v.Attachments {
		fmt.Fprintf(&b, ", %s to %s as %s", a.State, a.InstanceID, a.Device)
	}
	return b.String()
}

// VolumeSpec holds the parameters of [Client.CreateVolume].
type VolumeSpec struct {
	Zone               string
	SnapshotID         string // "" for a blank volume
	SizeGiB            int32  // 0: as the snapshot
	Type               string // "gp3"
	IOPS               int32  // 0: the type's default
	Throughput         int32  // MiB/s, gp3 only; 0: the default
	Encrypted          bool   // false: the snapshot's and the account's default
	KMSKey             string
	InitializationRate int32 // MiB/s at which EC2 loads the snapshot's blocks; 0: EC2's default
	Tags               map[string]string
	Token              string // see [Token]
}

// Token returns the client token for a source's volume on an instance. The same input
// always returns the same token, so a repeated or retried CreateVolume can't create a second
// volume. EC2 accepts at most 64 ASCII characters: the length of a SHA-256 in hexadecimal.
func Token(instanceID, zone, source string, generation int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "snapsource\x00%s\x00%s\x00%s\x00%d", instanceID, zone, source, generation))
	return hex.EncodeToString(sum[:])
}

// CreateVolume creates a volume; tags and token are part of the same call. The returned
// volume is usually still creating. For a token that was used before, it is the volume of
// the first call, in its present state or in its state at that time. [ErrTokenMismatch]
// means that the token was used with other parameters, or that its volume is deleted.
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
			if s.InitializationRate != 0 { // without the rate there may be capacity
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
		IOPS: aws.ToInt32(out.Iops), Throughput: aws.ToInt32(out.Throughput),
		Created: aws.ToTime(out.CreateTime), Age: ageOf(out), Encrypted: aws.ToBool(out.Encrypted), KMSKey: aws.ToString(out.KmsKeyId),
		FastRestored: aws.ToBool(out.FastRestored), InitializationRate: aws.ToInt32(out.VolumeInitializationRate),
		Tags: tagMap(out.Tags), Attachments: attachmentsOf(out.Attachments),
	}, nil
}

// ageOf returns the volume's age at the response, 0 if EC2 does not report it. It uses the
// response's Date, EC2's own time: this host's clock may not be set yet.
func ageOf(out *ec2.CreateVolumeOutput) time.Duration {
	now, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok || out.CreateTime == nil {
		return 0
	}
	return max(0, now.Sub(*out.CreateTime))
}

// ptrUnlessZero returns nil for a zero value: EC2 takes an absent parameter as its default.
func ptrUnlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// Volume describes one volume. If EC2 does not know it (yet), the error is [ErrNotFound].
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
		Message: "EC2's response does not contain it", Err: ErrNotFound,
	}
}

// Volumes lists the volumes tagged with this instance and one of the sources, in every state that
// EC2 still shows, in no order.
func (c *Client) Volumes(ctx context.Context, instanceID string, sources ...string) ([]Volume, error) {
	return c.volumes(ctx, "of "+strings.Join(sources, ", ")+" for "+instanceID, filter("tag:"+TagInstance, instanceID), filter("tag:"+TagSource, sources...))
}

// Attached lists the volumes that are attached to an instance, the root volume too.
func (c *Client) Attached(ctx context.Context, instanceID string) ([]Volume, error) {
	return c.volumes(ctx, "attached to "+instanceID, filter("attachment.instance-id", instanceID))
}

// VolumesOf lists the volumes tagged with this source, of any instance.
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

// VolumesWithin calls [Client.Volumes] until the list is not empty, for at most d: the list
// may lack a new volume.
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

// DeleteVolume deletes a detached volume. A volume that EC2 no longer knows, or is already
// deleting, is not an error.
func (c *Client) DeleteVolume(ctx context.Context, id string) error {
	_, err := c.queryEC2(ctx, "DeleteVolume", id, url.Values{"VolumeId": {id}})
	var api *APIError
	if errors.As(err, &api) && errors.Is(err, ErrNotReady) && strings.Contains(api.Message, VolumeDeleting) {
		return nil // an earlier call is in progress
	}
	return ignoreNotFound(err)
}

func volumeOf(v types.Volume) Volume {
	return Volume{
		ID: aws.ToString(v.VolumeId), State: string(v.State), Zone: aws.ToString(v.AvailabilityZone),
		SnapshotID: aws.ToString(v.SnapshotId), SizeGiB: aws.ToInt32(v.Size), Type: string(v.VolumeType),
		IOPS: aws.ToInt32(v.Iops), Throughput: aws.ToInt32(v.Throughput),
		Created: aws.ToTime(v.CreateTime), Encrypted: aws.ToBool(v.Encrypted), KMSKey: aws.ToString(v.KmsKeyId),
		FastRestored: aws.ToBool(v.FastRestored), InitializationRate: aws.ToInt32(v.VolumeInitializationRate),
		Tags: tagMap(v.Tags), Attachments: attachmentsOf(v.Attachments),
	}
}
