package ec2ops

import (
	"cmp"
	"net/url"
	"strconv"
)

// TemplateMapping is an entry of a block device mapping.
type TemplateMapping struct {
	Device      string          // as it was given: "/dev/sdf" or "sdf"
	Volume      *TemplateVolume // nil: no EBS volume
	VirtualName string          // "ephemeral0": an instance store volume
	NoDevice    bool            // the image's device of this name is left out

	given *element // EC2's response, of which a new version keeps all
}

// TemplateVolume is the EBS volume of a mapping.
type TemplateVolume struct {
	SnapshotID         string
	SizeGiB            int32 // 0: as the snapshot
	Type               string
	IOPS               int32
	Throughput         int32 // MiB/s
	InitializationRate int32 // MiB/s
	Encrypted          string
	KMSKey             string
	// DeleteOnTermination says whether the mapping has the volume deleted with the instance.
	DeleteOnTermination bool
}

// TemplateTags are the tags for the resources of one type that a launch creates.
type TemplateTags struct {
	ResourceType string
	Tags         []TemplateTag
}

// TemplateTag is a tag in a launch template.
type TemplateTag struct{ Key, Value string }

// ResourceVolume is the [TemplateTags].ResourceType of volumes.
const ResourceVolume = "volume"

// parameters adds an entry of a mapping to a form: EC2's own response, if it is from there.
func (m TemplateMapping) parameters(form url.Values, prefix string) {
	if m.given != nil {
		m.given.parameters(form, prefix)
		return
	}
	set := func(name, value string) {
		if value != "" && value != "0" {
			form.Set(prefix+name, value)
		}
	}
	set("DeviceName", m.Device)
	v := cmp.Or(m.Volume, &TemplateVolume{})
	set("Ebs.SnapshotId", v.SnapshotID)
	set("Ebs.VolumeType", v.Type)
	for name, n := range map[string]int32{
		"VolumeSize": v.SizeGiB, "Iops": v.IOPS, "Throughput": v.Throughput, "VolumeInitializationRate": v.InitializationRate,
	} {
		set("Ebs."+name, strconv.FormatInt(int64(n), 10))
	}
	set("Ebs.DeleteOnTermination", strconv.FormatBool(v.DeleteOnTermination))
}

func templateVersionOf(item *element) TemplateVersion {
	v := TemplateVersion{
		Number: item.number("versionNumber"), Default: item.value("defaultVersion") == "true",
		Description: item.value("versionDescription"), Created: item.time("createTime"),
	}
	data := item.child("launchTemplateData")
	for _, m := range data.child("blockDeviceMappingSet").children {
		v.Mappings = append(v.Mappings, templateMappingOf(m))
	}
	for _, spec := range data.child("tagSpecificationSet").children {
		tags := TemplateTags{ResourceType: spec.value("resourceType")}
		for _, tag := range spec.child("tagSet").children {
			tags.Tags = append(tags.Tags, TemplateTag{tag.value("key"), tag.value("value")})
		}
		v.Tags = append(v.Tags, tags)
	}
	return v
}

func templateMappingOf(item *element) TemplateMapping {
	m := TemplateMapping{Device: item.value("deviceName"), VirtualName: item.value("virtualName"), NoDevice: item.child("noDevice").name != "", given: item}
	if e := item.child("ebs"); e.name != "" {
		m.Volume = &TemplateVolume{
			SnapshotID: e.value("snapshotId"), SizeGiB: int32(e.number("volumeSize")), Type: e.value("volumeType"),
			IOPS: int32(e.number("iops")), Throughput: int32(e.number("throughput")),
			InitializationRate: int32(e.number("volumeInitializationRate")),
			Encrypted:          e.value("encrypted"), KMSKey: e.value("kmsKeyId"), DeleteOnTermination: e.value("deleteOnTermination") == "true",
		}
	}
	return m
}
