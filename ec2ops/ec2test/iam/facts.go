package iam

import (
	"slices"
	"strings"
)

// FactsSource names where [facts] is from.
const FactsSource = `Service Authorization Reference: "Actions, resources, and condition keys for Amazon EC2", "… for Amazon EC2 Auto Scaling", "… for AWS Key Management Service", as of June 2026`

// Keys that several actions support.
var (
	ofTagged  = []string{"aws:ResourceTag/", "ec2:ResourceTag/"}
	ofRequest = []string{"aws:RequestTag/", "aws:TagKeys"}
	ofRegion  = []string{"ec2:Region"}

	ofInstance = slices.Concat(ofTagged, []string{"ec2:AvailabilityZone", "ec2:InstanceID", "ec2:InstanceProfile", "ec2:InstanceType", "ec2:RootDeviceType", "ec2:Tenancy"})
	ofVolume   = slices.Concat(ofTagged, []string{"ec2:AvailabilityZone", "ec2:Encrypted", "ec2:ParentSnapshot", "ec2:VolumeID", "ec2:VolumeSize", "ec2:VolumeType"})
	ofSnapshot = slices.Concat(ofTagged, []string{"ec2:Owner", "ec2:ParentVolume", "ec2:SnapshotID", "ec2:SnapshotTime", "ec2:VolumeSize"})
	ofTemplate = ofTagged
	ofGroup    = []string{"aws:ResourceTag/", "autoscaling:ResourceTag/"}
	ofKey      = []string{"kms:CallerAccount", "kms:ViaService"}
)

// action is a row of the reference: the condition keys of each resource type that an action has. The type
// "" has the keys that do not depend on the resource. A key that ends in a slash is followed by the key of
// a tag. An action without other types needs the resource "*".
type action map[string][]string

// facts are the actions that snapsource calls, and those that the attacks try. Of the keys, those are left
// out that say nothing about whose a resource is.
var facts = map[string]action{
	"ec2:DescribeInstances":              {"": ofRegion},
	"ec2:DescribeVolumes":                {"": ofRegion},
	"ec2:DescribeSnapshots":              {"": ofRegion},
	"ec2:DescribeLaunchTemplateVersions": {"": ofRegion},
	"ec2:CreateVolume": {
		"": ofRegion,
		"volume": slices.Concat(ofRequest, []string{"ec2:AvailabilityZone", "ec2:Encrypted", "ec2:KmsKeyId", "ec2:ParentSnapshot",
			"ec2:VolumeID", "ec2:VolumeSize", "ec2:VolumeType"}),
		"snapshot": slices.Concat(ofTagged, []string{"ec2:Encrypted", "ec2:Owner", "ec2:ParentVolume", "ec2:SnapshotTime", "ec2:VolumeSize"}),
	},
	"ec2:AttachVolume": {"": ofRegion, "instance": ofInstance, "volume": ofVolume},
	"ec2:DetachVolume": {"": ofRegion, "instance": ofInstance, "volume": ofVolume},
	"ec2:DeleteVolume": {"": ofRegion, "volume": ofVolume},
	"ec2:ModifyInstanceAttribute": {
		"": ofRegion, "volume": ofVolume, "security-group": ofTagged,
		"instance": slices.Concat(ofInstance, []string{"ec2:Attribute", "ec2:Attribute/"}),
	},
	"ec2:CreateSnapshot": {
		"": ofRegion, "volume": ofVolume,
		"snapshot": slices.Concat(ofRequest, []string{"ec2:ParentVolume", "ec2:SnapshotID", "ec2:VolumeSize"}),
	},
	// The keys are of the copy and of the snapshot that is copied: "Resource-level permissions specified for
	// this action apply to both". Of the latter's tags no key is listed.
	"ec2:CopySnapshot": {
		"":         ofRegion,
		"snapshot": slices.Concat(ofRequest, []string{"ec2:Encrypted", "ec2:Owner", "ec2:ParentSnapshot", "ec2:SnapshotID", "ec2:VolumeSize"}),
	},
	"ec2:DeleteSnapshot": {"": ofRegion, "snapshot": ofSnapshot},
	"ec2:CreateTags": {
		"":         {"ec2:CreateAction", "ec2:Region"},
		"instance": slices.Concat(ofRequest, ofInstance), "volume": slices.Concat(ofRequest, ofVolume),
		"snapshot": slices.Concat(ofRequest, ofSnapshot), "launch-template": slices.Concat(ofRequest, ofTemplate),
	},
	// Neither ec2:InstanceID nor another key that names the resource.
	"ec2:DeleteTags": {
		"":         {"aws:TagKeys", "ec2:Region"},
		"instance": slices.Concat(ofRequest, ofTagged), "volume": slices.Concat(ofRequest, ofTagged),
		"snapshot": slices.Concat(ofRequest, ofTagged), "launch-template": slices.Concat(ofRequest, ofTagged),
	},
	"ec2:CreateLaunchTemplateVersion":  {"": ofRegion, "launch-template": ofTemplate},
	"ec2:ModifyLaunchTemplate":         {"": ofRegion, "launch-template": slices.Concat(ofTemplate, []string{"ec2:Attribute", "ec2:Attribute/"})},
	"ec2:DeleteLaunchTemplateVersions": {"": ofRegion, "launch-template": ofTemplate},

	"autoscaling:DescribeAutoScalingGroups":      {},
	"autoscaling:DescribeAutoScalingInstances":   {},
	"autoscaling:DescribeLifecycleHooks":         {},
	"autoscaling:CompleteLifecycleAction":        {"autoScalingGroup": ofGroup},
	"autoscaling:RecordLifecycleActionHeartbeat": {"autoScalingGroup": ofGroup},

	"kms:CreateGrant":                     {"": slices.Concat(ofKey, []string{"kms:GrantIsForAWSResource"}), "key": nil},
	"kms:Decrypt":                         {"": ofKey, "key": nil},
	"kms:DescribeKey":                     {"": ofKey, "key": nil},
	"kms:GenerateDataKeyWithoutPlaintext": {"": ofKey, "key": nil},
	"kms:ReEncryptFrom":                   {"": ofKey, "key": nil},
	"kms:ReEncryptTo":                     {"": ofKey, "key": nil},
}

// global are keys of every request. ec2:SourceInstanceARN is one of them, but only requests with the
// credentials of an instance's role have it. (EC2 user guide, "ec2:SourceInstanceARN condition key"; IAM
// user guide, "AWS global condition context keys")
var global = []string{"aws:PrincipalAccount", "aws:RequestedRegion", "aws:userid", "ec2:SourceInstanceARN"}

// multivalued are the keys that need ForAllValues or ForAnyValue.
var multivalued = []string{"aws:TagKeys"}

// Known reports whether the table has an action.
func Known(name string) bool { return facts[name] != nil }

// Supports reports whether requests of an action on a type of resource have a condition key.
func Supports(name, resourceType, key string) bool {
	return slices.ContainsFunc(slices.Concat(global, facts[name][""], facts[name][resourceType]), func(have string) bool {
		if strings.HasSuffix(have, "/") {
			return len(key) > len(have) && strings.EqualFold(key[:len(have)], have)
		}
		return strings.EqualFold(key, have)
	})
}

// resourceTypes are the parts of ARNs that tell the types, by service.
var resourceTypes = map[string][]string{
	"ec2":         {"instance", "volume", "snapshot", "launch-template", "security-group"},
	"autoscaling": {"autoScalingGroup"},
	"kms":         {"key"},
}

// TypeOf returns the type of the resource that an ARN or a pattern of ARNs names; "" for "*", and for
// one that is not known.
func TypeOf(arn string) string {
	parts := strings.SplitN(arn, ":", arnParts)
	if len(parts) != arnParts {
		return ""
	}
	end := strings.IndexAny(parts[5], ":/")
	if end < 0 || !slices.Contains(resourceTypes[parts[2]], parts[5][:end]) {
		return ""
	}
	return parts[5][:end]
}
