package ec2test

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// TemplateData are the parameters of a launch: of a launch template's version, or of a
// RunInstances call. A field that was not given is zero. KeyName, Profile, SecurityGroupIDs and
// Metadata are kept and have no effect.
type TemplateData struct {
	ImageID          string            `json:",omitempty" xml:"imageId,omitempty"`
	InstanceType     string            `json:",omitempty" xml:"instanceType,omitempty"`
	UserData         string            `json:",omitempty" xml:"userData,omitempty"` // base64
	KeyName          string            `json:",omitempty" xml:"keyName,omitempty"`
	Profile          *TemplateProfile  `json:",omitempty" xml:"iamInstanceProfile,omitempty"`
	SecurityGroupIDs []string          `json:",omitempty" xml:"securityGroupIdSet>item,omitempty"`
	Metadata         *TemplateMetadata `json:",omitempty" xml:"metadataOptions,omitempty"`
	Mappings         []TemplateMapping `json:",omitempty" xml:"blockDeviceMappingSet>item,omitempty"`
	TagSpecs         []TemplateTags    `json:",omitempty" xml:"tagSpecificationSet>item,omitempty"`
}

// TemplateProfile names an instance profile.
type TemplateProfile struct {
	ARN  string `json:",omitempty" xml:"arn,omitempty"`
	Name string `json:",omitempty" xml:"name,omitempty"`
}

// TemplateMetadata are options of the metadata service.
type TemplateMetadata struct {
	Tokens   string `json:",omitempty" xml:"httpTokens,omitempty"`
	Hops     int64  `json:",omitempty" xml:"httpPutResponseHopLimit,omitempty"`
	Endpoint string `json:",omitempty" xml:"httpEndpoint,omitempty"`
	IPv6     string `json:",omitempty" xml:"httpProtocolIpv6,omitempty"`
	Tags     string `json:",omitempty" xml:"instanceMetadataTags,omitempty"`
}

// TemplateMapping is an entry of a block device mapping.
type TemplateMapping struct {
	Device   string       `xml:"deviceName,omitempty"`
	Virtual  string       `json:",omitempty" xml:"virtualName,omitempty"` // ephemeral0, …: an instance store volume
	EBS      *TemplateEBS `json:",omitempty" xml:"ebs,omitempty"`
	NoDevice *string      `json:",omitempty" xml:"noDevice,omitempty"` // not nil: no such device
}

// TemplateEBS describes the volume of a mapping.
type TemplateEBS struct {
	Encrypted           *bool  `json:",omitempty" xml:"encrypted,omitempty"`
	DeleteOnTermination *bool  `json:",omitempty" xml:"deleteOnTermination,omitempty"`
	IOPS                int64  `json:",omitempty" xml:"iops,omitempty"`
	KMSKeyID            string `json:",omitempty" xml:"kmsKeyId,omitempty"`
	SnapshotID          string `json:",omitempty" xml:"snapshotId,omitempty"`
	Size                int64  `json:",omitempty" xml:"volumeSize,omitempty"` // GiB
	Type                string `json:",omitempty" xml:"volumeType,omitempty"`
	Throughput          int64  `json:",omitempty" xml:"throughput,omitempty"`               // MiB/s
	InitializationRate  int64  `json:",omitempty" xml:"volumeInitializationRate,omitempty"` // MiB/s
	CardIndex           int64  `json:",omitempty" xml:"ebsCardIndex,omitempty"`             // kept, and has no effect
}

// TemplateTags are the tags for the resources of one type that a launch creates.
type TemplateTags struct {
	ResourceType string `xml:"resourceType"`
	Tags         Tags   `xml:"tagSet"`
}

// MarshalXML implements [xml.Marshaler].
func (t Tags) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(t.wire(), start)
}

// launchData reads the parameters of a launch below a prefix: "" or "LaunchTemplateData.".
func (p *params) launchData(prefix string) TemplateData {
	d := TemplateData{
		ImageID: p.text(prefix + "ImageId"), InstanceType: p.text(prefix + "InstanceType"),
		UserData: p.text(prefix + "UserData"), KeyName: p.text(prefix + "KeyName"),
		SecurityGroupIDs: p.list(prefix + "SecurityGroupId"), Mappings: p.mappings(prefix), TagSpecs: p.tagSpecs(prefix),
	}
	profile := TemplateProfile{ARN: p.text(prefix + "IamInstanceProfile.Arn"), Name: p.text(prefix + "IamInstanceProfile.Name")}
	if profile != (TemplateProfile{}) {
		d.Profile = &profile
	}
	options := prefix + "MetadataOptions."
	metadata := TemplateMetadata{
		Tokens: p.text(options + "HttpTokens"), Hops: p.number(options + "HttpPutResponseHopLimit"), Endpoint: p.text(options + "HttpEndpoint"),
		IPv6: p.text(options + "HttpProtocolIpv6"), Tags: p.text(options + "InstanceMetadataTags"),
	}
	if metadata != (TemplateMetadata{}) {
		d.Metadata = &metadata
	}
	if _, err := d.userData(); err != nil {
		p.fail(err)
	}
	return d
}

func (p *params) mappings(prefix string) (mappings []TemplateMapping) {
	for _, item := range p.items(prefix + "BlockDeviceMapping") {
		m := TemplateMapping{Device: p.text(item + ".DeviceName"), Virtual: p.text(item + ".VirtualName")}
		if p.has(item + ".NoDevice") {
			none := p.text(item + ".NoDevice")
			m.NoDevice = &none
		}
		ebs := item + ".Ebs."
		e := TemplateEBS{
			Encrypted: p.givenTruth(ebs + "Encrypted"), DeleteOnTermination: p.givenTruth(ebs + "DeleteOnTermination"),
			IOPS: p.number(ebs + "Iops"), KMSKeyID: p.text(ebs + "KmsKeyId"), SnapshotID: p.text(ebs + "SnapshotId"),
			Size: p.number(ebs + "VolumeSize"), Type: p.text(ebs + "VolumeType"),
			Throughput: p.number(ebs + "Throughput"), InitializationRate: p.number(ebs + "VolumeInitializationRate"),
			CardIndex: p.number(ebs + "EbsCardIndex"),
		}
		if e != (TemplateEBS{}) {
			m.EBS = &e
		}
		mappings = append(mappings, m)
	}
	return mappings
}

// givenTruth returns a boolean parameter, or nil if it is absent.
func (p *params) givenTruth(name string) *bool {
	if !p.has(name) {
		return nil
	}
	given := p.truth(name, false)
	return &given
}

// launchTagged are the types of resources that a launch can tag. (API reference,
// LaunchTemplateTagSpecificationRequest)
var launchTagged = []string{"instance", "volume", "network-interface", "spot-instances-request"}

func (p *params) tagSpecs(prefix string) (specs []TemplateTags) {
	for _, item := range p.items(prefix + "TagSpecification") {
		s := TemplateTags{ResourceType: p.required(item + ".ResourceType"), Tags: p.tags(item + ".")}
		if s.ResourceType != "" && !slices.Contains(launchTagged, s.ResourceType) {
			p.fail(fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", s.ResourceType))
		}
		specs = append(specs, s)
	}
	return specs
}

// given says whether any parameter was given.
func (d TemplateData) given() bool { return !reflect.DeepEqual(d, TemplateData{}) }

// tagsOf returns the tags for one type of resource.
func (d TemplateData) tagsOf(resourceType string) Tags {
	tags := Tags{}
	for _, s := range d.TagSpecs {
		if s.ResourceType == resourceType {
			maps.Copy(tags, s.Tags)
		}
	}
	return tags
}

// maxUserData is the limit of user data, in bytes. (EC2 user guide, "Run commands when you
// launch an EC2 instance with user data input")
const maxUserData = 16 << 10

// userData returns the user data as the instance gets it.
func (d TemplateData) userData() (string, error) {
	decoded, err := base64.StdEncoding.DecodeString(d.UserData)
	switch {
	case err != nil:
		return "", fail("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	case len(decoded) > maxUserData:
		return "", fail("InvalidParameterValue", "User data is limited to %d bytes", maxUserData)
	}
	return string(decoded), nil
}

// replaced returns the parameters with each one that was given as a whole, except the block
// device mapping.
func (d TemplateData) replaced(given TemplateData) TemplateData {
	replace(&d.ImageID, given.ImageID)
	replace(&d.InstanceType, given.InstanceType)
	replace(&d.UserData, given.UserData)
	replace(&d.KeyName, given.KeyName)
	replace(&d.Profile, given.Profile)
	replace(&d.Metadata, given.Metadata)
	if len(given.SecurityGroupIDs) > 0 {
		d.SecurityGroupIDs = given.SecurityGroupIDs
	}
	if len(given.TagSpecs) > 0 {
		d.TagSpecs = given.TagSpecs
	}
	return d
}

func replace[T comparable](v *T, given T) {
	var absent T
	if given != absent {
		*v = given
	}
}

// newVersion returns the parameters of a version that has d as its source. Each given parameter
// replaces the source's; a block device mapping is not merged. An inherited mapping lacks its
// snapshots: "Snapshots applied to the block device mapping are ignored when creating a new
// version unless they are explicitly included." (API reference, CreateLaunchTemplateVersion;
// seen in aws/aws-cli#4297)
func (d TemplateData) newVersion(given TemplateData) TemplateData {
	next := d.replaced(given)
	if len(given.Mappings) > 0 {
		next.Mappings = given.Mappings
		return next
	}
	next.Mappings = cloneMappings(d.Mappings)
	for _, m := range next.Mappings {
		if m.EBS != nil {
			m.EBS.SnapshotID = ""
		}
	}
	return next
}

// launch returns the parameters of a launch from a template with d. The given parameters
// override those of the template; TagSpecification does so as a whole, which is not documented.
// Mappings are merged by the exact device name: only the given parts of an entry change, and
// another name is a further entry. (API reference, FleetBlockDeviceMappingRequest; EC2 user
// guide, "Add block device mappings to Amazon EC2 instance", for the mapping of an image)
func (d TemplateData) launch(given TemplateData) TemplateData {
	merged := d.replaced(given)
	merged.Mappings = cloneMappings(d.Mappings)
	for _, g := range cloneMappings(given.Mappings) {
		n := slices.IndexFunc(d.Mappings, func(m TemplateMapping) bool { return m.Device == g.Device })
		switch {
		case n < 0:
			merged.Mappings = append(merged.Mappings, g)
		case g.NoDevice != nil || merged.Mappings[n].EBS == nil:
			merged.Mappings[n] = g
		default:
			merged.Mappings[n].NoDevice = nil
			merged.Mappings[n].EBS.override(g.EBS)
		}
	}
	return merged
}

// override sets what was given.
func (e *TemplateEBS) override(given *TemplateEBS) {
	if given == nil {
		return
	}
	replace(&e.Encrypted, given.Encrypted)
	replace(&e.DeleteOnTermination, given.DeleteOnTermination)
	replace(&e.IOPS, given.IOPS)
	replace(&e.KMSKeyID, given.KMSKeyID)
	replace(&e.SnapshotID, given.SnapshotID)
	replace(&e.Size, given.Size)
	replace(&e.Type, given.Type)
	replace(&e.Throughput, given.Throughput)
	replace(&e.InitializationRate, given.InitializationRate)
	replace(&e.CardIndex, given.CardIndex)
}

func cloneMappings(mappings []TemplateMapping) []TemplateMapping {
	mappings = slices.Clone(mappings)
	for n, m := range mappings {
		if m.EBS != nil {
			copied := *m.EBS
			mappings[n].EBS = &copied
		}
	}
	return mappings
}

// sound returns EC2's error for parameters that no instance can be launched from. Which images
// exist is not simulated.
func (d TemplateData) sound() error {
	switch {
	case d.ImageID == "":
		return missing("ImageId")
	case !strings.HasPrefix(d.ImageID, "ami-"):
		return fail("InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", d.ImageID)
	}
	return nil
}
