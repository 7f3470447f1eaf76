package ec2test

import "time"

// The elements of EC2's responses, named as in the API reference, in EC2's order where it
// is known.

// set is a list element; EC2 writes it even if it is empty.
type set[T any] struct {
	Items []T `xml:"item"`
}

type answered struct {
	Return bool `xml:"return"`
}

type tagItem struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type attachmentItem struct {
	VolumeID            string `xml:"volumeId"`
	InstanceID          string `xml:"instanceId"`
	Device              string `xml:"device"`
	Status              string `xml:"status"`
	AttachTime          string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

type volumeItem struct {
	VolumeID           string              `xml:"volumeId"`
	Size               int64               `xml:"size"`
	SnapshotID         string              `xml:"snapshotId"`
	AvailabilityZone   string              `xml:"availabilityZone"`
	Status             string              `xml:"status"`
	CreateTime         string              `xml:"createTime"`
	Attachments        set[attachmentItem] `xml:"attachmentSet"`
	Tags               set[tagItem]        `xml:"tagSet"`
	VolumeType         string              `xml:"volumeType"`
	IOPS               int64               `xml:"iops,omitempty"`
	Encrypted          bool                `xml:"encrypted"`
	KMSKeyID           string              `xml:"kmsKeyId,omitempty"`
	MultiAttachEnabled bool                `xml:"multiAttachEnabled"`
	Throughput         int64               `xml:"throughput,omitempty"`
	InitializationRate int64               `xml:"volumeInitializationRate,omitempty"`
	FastRestored       bool                `xml:"fastRestored,omitempty"`
}

type snapshotItem struct {
	SnapshotID     string       `xml:"snapshotId"`
	VolumeID       string       `xml:"volumeId"`
	Status         string       `xml:"status"`
	StatusMessage  string       `xml:"statusMessage,omitempty"`
	StartTime      string       `xml:"startTime"`
	CompletionTime string       `xml:"completionTime,omitempty"`
	Progress       string       `xml:"progress"`
	OwnerID        string       `xml:"ownerId"`
	VolumeSize     int64        `xml:"volumeSize"`
	Description    string       `xml:"description"`
	Tags           set[tagItem] `xml:"tagSet"`
	Encrypted      bool         `xml:"encrypted"`
	KMSKeyID       string       `xml:"kmsKeyId,omitempty"`
	StorageTier    string       `xml:"storageTier"`
	TransferType   string       `xml:"transferType,omitempty"`
}

type stateItem struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type instanceItem struct {
	InstanceID       string         `xml:"instanceId"`
	ImageID          string         `xml:"imageId"`
	State            stateItem      `xml:"instanceState"`
	PrivateDNSName   string         `xml:"privateDnsName"`
	InstanceType     string         `xml:"instanceType"`
	LaunchTime       string         `xml:"launchTime"`
	AvailabilityZone string         `xml:"placement>availabilityZone"`
	PrivateIP        string         `xml:"privateIpAddress,omitempty"`
	Architecture     string         `xml:"architecture"`
	RootDeviceType   string         `xml:"rootDeviceType"`
	RootDeviceName   string         `xml:"rootDeviceName"`
	Mappings         set[mapping]   `xml:"blockDeviceMapping"`
	Virtualization   string         `xml:"virtualizationType"`
	Tags             set[tagItem]   `xml:"tagSet"`
	Hypervisor       string         `xml:"hypervisor"`
	Profile          *profileItem   `xml:"iamInstanceProfile,omitempty"`
	Metadata         metadataOption `xml:"metadataOptions"`
}

type profileItem struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type metadataOption struct {
	State    string `xml:"state"`
	Tokens   string `xml:"httpTokens"`
	Hops     int    `xml:"httpPutResponseHopLimit"`
	Endpoint string `xml:"httpEndpoint"`
	Tags     string `xml:"instanceMetadataTags"`
}

type mapping struct {
	DeviceName string     `xml:"deviceName"`
	EBS        ebsMapping `xml:"ebs"`
}

type ebsMapping struct {
	VolumeID            string `xml:"volumeId"`
	Status              string `xml:"status"`
	AttachTime          string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

// stamp formats a time like EC2.
func stamp(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// wholeStamp writes the times of launches and attachments: EC2's have no milliseconds. (examples of
// the API reference, DescribeInstances)
func wholeStamp(t time.Time) string { return stamp(t.Truncate(time.Second)) }

func (t Tags) wire() set[tagItem] {
	items := make([]tagItem, 0, len(t))
	for _, key := range sortedKeys(t) {
		items = append(items, tagItem{key, t[key]})
	}
	return set[tagItem]{items}
}

func (v *Volume) wire(now time.Time) volumeItem {
	item := volumeItem{
		VolumeID: v.ID, Size: v.Size, SnapshotID: v.SnapshotID, AvailabilityZone: v.Zone,
		Status: v.State(now), CreateTime: stamp(v.Created), Tags: v.Tags.wire(),
		VolumeType: v.Type, IOPS: v.IOPS, Encrypted: v.Encrypted, KMSKeyID: v.KMSKeyID,
		Throughput: v.Throughput, InitializationRate: v.InitializationRate, FastRestored: v.FastRestored,
	}
	if v.attached(now) != nil {
		item.Attachments.Items = []attachmentItem{v.attachment(now)}
	}
	return item
}

// attachment describes the volume's Attachment, which must exist.
func (v *Volume) attachment(now time.Time) attachmentItem {
	a := v.Attachment
	return attachmentItem{
		VolumeID: v.ID, InstanceID: a.InstanceID, Device: a.Device, Status: a.State(now),
		AttachTime: wholeStamp(a.Asked), DeleteOnTermination: a.DeleteOnTermination,
	}
}

func (s *Snapshot) wire(now time.Time) snapshotItem {
	item := snapshotItem{
		SnapshotID: s.ID, VolumeID: s.VolumeID, Status: s.State(now), StartTime: stamp(s.Started),
		Progress: s.Progress(now), OwnerID: s.Owner, VolumeSize: s.Size, Description: s.Description,
		Tags: s.Tags.wire(), Encrypted: s.Encrypted, KMSKeyID: s.KMSKeyID, StorageTier: s.Tier,
	}
	if s.Copy {
		item.TransferType = "standard"
	}
	switch item.Status {
	case "completed":
		item.CompletionTime = stamp(s.Completed)
	case "error":
		item.StatusMessage = s.Message
	}
	return item
}
