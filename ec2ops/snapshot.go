package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Snapshot states and storage tiers in EC2's own words.
const (
	SnapshotCompleted = string(types.SnapshotStateCompleted)
	SnapshotPending   = string(types.SnapshotStatePending)
	SnapshotFailed    = string(types.SnapshotStateError)
	TierArchive       = string(types.StorageTierArchive)
)

// Snapshot is an EBS snapshot.
type Snapshot struct {
	ID        string
	VolumeID  string // its volume; arbitrary for a copy
	Copy      bool   // made by CopySnapshot, according to EC2
	State     string // pending, completed, error, recoverable, recovering
	Message   string // why a copy has the state error
	Progress  string // "37%"
	Tier      string // standard or archive
	OwnerID   string
	Start     time.Time // the point in time it holds
	SizeGiB   int32     // of its volume
	Encrypted bool
	KMSKey    string // its ARN, if it is encrypted
	Tags      map[string]string

	Description string
}

// DescriptionMax is the longest description, in characters. (CreateSnapshot, API reference)
const DescriptionMax = 255

// ErrOutcomeUnknown means that no response says whether the call took effect.
var ErrOutcomeUnknown = errors.New("unknown whether the call took effect")

// SnapshotSpec holds the parameters of [Client.CreateSnapshot].
type SnapshotSpec struct {
	VolumeID    string
	Description string // at most [DescriptionMax] characters
	Tags        map[string]string
}

// CreateSnapshot takes a snapshot of the volume's present data; the tags are part of the
// same call. The returned snapshot is still pending.
//
// The call is made once: it has no client token, so a retry after a lost response could
// take a second snapshot. After an error that wraps [ErrOutcomeUnknown] there may be a
// snapshot: search for it by a unique tag. After any other error there is none.
func (c *Client) CreateSnapshot(ctx context.Context, s SnapshotSpec) (Snapshot, error) {
	form := url.Values{"VolumeId": {s.VolumeID}, "TagSpecification.1.ResourceType": {"snapshot"}}
	if s.Description != "" {
		form.Set("Description", s.Description)
	}
	tagForm(form, "TagSpecification.1.Tag.", s.Tags)
	out, err := call(ctx, c, "CreateSnapshot", "of "+s.VolumeID, func(ctx context.Context) (*element, error) {
		return c.sendEC2(ctx, "CreateSnapshot", form, func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
	})
	if err != nil {
		if !hadNoEffect(err) {
			err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		return Snapshot{}, err
	}
	return Snapshot{
		ID: out.value("snapshotId"), VolumeID: out.value("volumeId"), State: out.value("status"), Progress: out.value("progress"),
		Tier: out.value("storageTier"), OwnerID: out.value("ownerId"), Start: out.time("startTime"),
		SizeGiB: int32(out.number("volumeSize")), Encrypted: out.value("encrypted") == "true", Tags: out.tags(),
	}, nil
}

// hadNoEffect says whether a failed call certainly had no effect: EC2 refused it with a
// reason, or it could not be signed. An internal error may follow the effect. (API
// reference, "Error codes")
func hadNoEffect(err error) bool {
	var e *APIError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "":
		return errors.Is(err, ErrNoCredentials)
	case "InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", codeless:
		return false
	}
	_, known := kinds[e.Code]
	return known || errors.Is(e.Kind, ErrPermanent)
}

// Snapshot describes one snapshot of this account. If there is none, the error is
// [ErrNotFound].
func (c *Client) Snapshot(ctx context.Context, id string) (Snapshot, error) {
	return c.snapshot(ctx, id, "self")
}

// SharedSnapshot describes one snapshot that another account shares with this one explicitly; a
// public one is [ErrNotFound]. (DescribeSnapshots, API reference, "RestorableBy": self) It has the tags of
// this account only: tags of a shared resource are visible only to the account that assigned them.
// (EC2 user guide, "Tag your Amazon EC2 resources")
func (c *Client) SharedSnapshot(ctx context.Context, owner, id string) (Snapshot, error) {
	s, err := c.snapshot(ctx, id, owner, "self")
	if err == nil && s.OwnerID != owner {
		return Snapshot{}, fmt.Errorf("%w: %s belongs to the account %s, not to %s", ErrNotFound, id, s.OwnerID, owner)
	}
	return s, err
}

func (c *Client) snapshot(ctx context.Context, id, owner string, sharedWith ...string) (Snapshot, error) {
	out, err := call(ctx, c, "DescribeSnapshots", id, func(ctx context.Context) (*ec2.DescribeSnapshotsOutput, error) {
		return c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}, OwnerIds: []string{owner}, RestorableByUserIds: sharedWith})
	})
	if err != nil {
		return Snapshot{}, err
	}
	for _, s := range out.Snapshots {
		if aws.ToString(s.SnapshotId) == id {
			return snapshotOf(s), nil
		}
	}
	return Snapshot{}, &APIError{
		Action: "ec2:DescribeSnapshots", Resource: id, Kind: ErrNotFound,
		Message: "EC2's response does not contain it", Err: ErrNotFound,
	}
}

// SnapshotByID describes one snapshot of this account. It retries not found for
// [Unknown].Within; known is false after that.
func (c *Client) SnapshotByID(ctx context.Context, id string) (s Snapshot, known bool, err error) {
	err = c.retryNotFound(ctx, func() (err error) {
		s, err = c.Snapshot(ctx, id)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return Snapshot{}, false, nil
	}
	return s, err == nil, err
}

// Snapshots lists this account's snapshots whose Name is one of the sources, in every state and
// storage tier, in no order.
func (c *Client) Snapshots(ctx context.Context, sources ...string) ([]Snapshot, error) {
	return c.snapshotsTagged(ctx, TagName, sources...)
}

// SnapshotsTagged lists this account's snapshots with a tag, in every state and storage
// tier, in no order. The owner filter is "self": without it EC2 also lists snapshots that
// other accounts share or publish.
func (c *Client) SnapshotsTagged(ctx context.Context, key, value string) ([]Snapshot, error) {
	return c.snapshotsTagged(ctx, key, value)
}

func (c *Client) snapshotsTagged(ctx context.Context, key string, values ...string) ([]Snapshot, error) {
	in := &ec2.DescribeSnapshotsInput{
		OwnerIds:   []string{"self"},
		Filters:    []types.Filter{filter("tag:"+key, values...)},
		MaxResults: aws.Int32(1000),
	}
	return call(ctx, c, "DescribeSnapshots", "tagged "+key+"="+strings.Join(values, ", "), func(ctx context.Context) ([]Snapshot, error) {
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

const (
	// snapshotFirstPoll and snapshotLastPoll are the delays between polls of a pending
	// snapshot. A small one is completed within seconds, a large one in minutes or hours,
	// and the API's percentage changes slowly.
	snapshotFirstPoll = time.Second
	snapshotLastPoll  = 5 * time.Second
)

// WaitSnapshot polls a snapshot until it is completed. seen, when not nil, is called with
// every polled snapshot. An id that EC2 has never shown may be not found for a while, as
// with [Client.WaitVolume]. A snapshot in the state error is ErrTemporary: the next one may
// succeed.
func (c *Client) WaitSnapshot(ctx context.Context, id string, seen func(Snapshot)) (Snapshot, error) {
	pause := c.newPollDelay("snapshot", snapshotFirstPoll, snapshotLastPoll)
	unknownUntil := time.Now().Add(NeverShown.Within)
	last := notSeen
	outOfTime := func(err error) error {
		return fmt.Errorf("wait for %s (%s): %w: %w", id, last, ErrTemporary, err)
	}
	for {
		s, err := c.Snapshot(ctx, id)
		switch {
		case err == nil:
			unknownUntil = time.Now().Add(Unknown.Within)
			last = s.State + " " + s.Progress
			if seen != nil {
				seen(s)
			}
			switch s.State {
			case SnapshotCompleted:
				return s, nil
			case SnapshotFailed:
				return s, s.failure()
			}
		case errors.Is(err, ErrNotFound) && time.Now().Before(unknownUntil):
		case ctx.Err() != nil:
			return Snapshot{}, fmt.Errorf("wait for %s (%s): %w", id, last, err)
		default:
			return Snapshot{}, err
		}
		if err := pause.sleep(ctx); err != nil {
			return Snapshot{}, outOfTime(err)
		}
	}
}

// failure returns the error for a snapshot that EC2 could not complete. Of a copy EC2 says why: that its
// KMS key, or the original's, can't be used, is [ErrKMS]. (Snapshot, API reference, "StateMessage";
// aws-samples/aws-backup-automation#2 has the text "Given key ID is not accessible")
func (s Snapshot) failure() error {
	kind, why := ErrTemporary, "; take another snapshot"
	if s.Message != "" {
		why = ": " + s.Message
	}
	if strings.Contains(s.Message, "key ID") {
		kind = ErrKMS
	}
	return fmt.Errorf("%w: EC2 could not complete %s: its state is error%s", kind, s.ID, why)
}

// SnapshotsWithin calls [Client.SnapshotsTagged] until the list is not empty, for at most
// d: the list may lack a new snapshot.
func (c *Client) SnapshotsWithin(ctx context.Context, key, value string, d time.Duration) ([]Snapshot, error) {
	pause := c.newPollDelay("snapshot", firstPoll, lastPoll)
	for until := time.Now().Add(d); ; {
		all, err := c.SnapshotsTagged(ctx, key, value)
		if err != nil || len(all) > 0 || !time.Now().Before(until) {
			return all, err
		}
		if err := pause.sleep(ctx); err != nil {
			return nil, fmt.Errorf("wait for a snapshot tagged %s=%s: %w: %w", key, value, ErrTemporary, err)
		}
	}
}

// DeleteSnapshot deletes a snapshot. One that EC2 no longer knows is not an error.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	_, err := c.queryEC2(ctx, "DeleteSnapshot", id, url.Values{"SnapshotId": {id}})
	return ignoreNotFound(err)
}

func snapshotOf(s types.Snapshot) Snapshot {
	return Snapshot{
		ID:        aws.ToString(s.SnapshotId),
		VolumeID:  aws.ToString(s.VolumeId),
		Copy:      s.TransferType != "", // "only for snapshot copies" (Snapshot, API reference)
		State:     string(s.State),
		Message:   aws.ToString(s.StateMessage),
		Progress:  aws.ToString(s.Progress),
		Tier:      string(s.StorageTier),
		OwnerID:   aws.ToString(s.OwnerId),
		Start:     aws.ToTime(s.StartTime),
		SizeGiB:   aws.ToInt32(s.VolumeSize),
		Encrypted: aws.ToBool(s.Encrypted),
		KMSKey:    aws.ToString(s.KmsKeyId),
		Tags:      tagMap(s.Tags),

		Description: aws.ToString(s.Description),
	}
}
