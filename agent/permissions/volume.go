package permissions

import "snapsource/ec2ops"

// sourceInstance is the ARN of the instance whose credentials sign a request: the credentials of an
// instance's role carry it. (EC2 user guide, "ec2:SourceInstanceARN condition key")
const sourceInstance = "ec2:SourceInstanceARN"

// Condition keys that a request has for a tag: of the resource, or of those to be set.
const (
	resourceTag = "aws:ResourceTag/"
	requestTag  = "aws:RequestTag/"
	tagKeys     = "aws:TagKeys"
)

// isThisInstance is met if the value of a condition key is the id of the instance that calls. A policy
// variable may be any condition key that the request has for its resource (IAM user guide, "IAM policy
// elements: Variables and tags"); AWS's own policy AWSEC2VssSnapshotPolicy has this condition with
// ${ec2:InstanceId}.
func (s Settings) isThisInstance(key string) Condition {
	return when("ArnLike", sourceInstance, s.arn("ec2", "instance/${"+key+"}"))
}

// onOwn is met for a volume that is tagged as this instance's.
func (s Settings) onOwn() Condition { return s.isThisInstance(resourceTag + ec2ops.TagInstance) }

// onlyTags is met if a request sets or removes no other tags. DeleteTags without keys removes all tags;
// for it, [withTags] is needed as well.
func onlyTags(keys ...string) Condition { return when("ForAllValues:StringEquals", tagKeys, keys...) }

// withTags is met if a request names tags.
func withTags() Condition { return when("Null", tagKeys, "false") }

// volumes is what up, init and down need: the instance's own volumes, from snapshots of the sources.
func volumes(s Settings) []Statement {
	volume, snapshot, instance := s.arn("ec2", "volume/*"), s.arn("ec2", "snapshot/*"), s.arn("ec2", "instance/*")
	self := s.isThisInstance("ec2:InstanceID")
	return []Statement{
		read("ec2:DescribeInstances", "ec2:DescribeSnapshots", "ec2:DescribeVolumes"),
		allow("CreateOwnVolumes", []string{"ec2:CreateVolume"}, volume, s.isThisInstance(requestTag+ec2ops.TagInstance),
			when("StringEquals", requestTag+ec2ops.TagSource, s.Sources...)),
		allow("FromSnapshotsOfTheSource", []string{"ec2:CreateVolume"}, snapshot,
			when("StringEquals", resourceTag+ec2ops.TagName, s.Sources...)),
		allow("TagNewVolumes", []string{"ec2:CreateTags"}, volume, when("StringEquals", "ec2:CreateAction", "CreateVolume")),
		allow("UseOwnVolumes", []string{"ec2:AttachVolume", "ec2:DeleteVolume", "ec2:DetachVolume", "ec2:ModifyInstanceAttribute"}, volume, s.onOwn()),
		allow("AttachToThisInstance", []string{"ec2:AttachVolume", "ec2:DetachVolume"}, instance, self),
		// Whether a request has ec2:Attribute for an attribute with parts is not documented ("can't be
		// used with complex objects", EC2 user guide, "ec2:Attribute condition key"). For all others that
		// have it the condition is false.
		allow("DeleteOnTermination", []string{"ec2:ModifyInstanceAttribute"}, instance, self,
			when("StringEqualsIfExists", "ec2:Attribute", "BlockDeviceMapping")),
		allow("MarkOwnVolumes", []string{"ec2:CreateTags"}, volume, s.onOwn(), onlyTags(ec2ops.TagFormatted, ec2ops.TagStarted)),
	}
}

// arrivals is what up needs besides if volumes come with the launch from a launch template. No key says
// to which instance a volume is attached, so it may claim any that the template's tags name for the
// source and that no instance has claimed.
func arrivals(s Settings) []Statement {
	if len(s.Templates) == 0 {
		return nil
	}
	keys := append([]string{ec2ops.TagName, ec2ops.TagSource, ec2ops.TagInstance, ec2ops.TagSnapshot, ec2ops.TagStarted, ec2ops.TagDiscarded}, s.TagKeys...)
	return []Statement{allow("ClaimVolumesOfTheLaunch", []string{"ec2:CreateTags"}, s.arn("ec2", "volume/*"),
		when("StringLike", resourceTag+ec2ops.TagSource, s.published()...),
		when("Null", resourceTag+ec2ops.TagInstance, "true"),
		s.isThisInstance(requestTag+ec2ops.TagInstance), onlyTags(keys...))}
}

// published returns patterns of the tag's values in which publish names a source: it has one for all
// volumes of a launch, with the sources separated by spaces.
func (s Settings) published() (patterns []string) {
	for _, source := range s.Sources {
		patterns = append(patterns, source, source+" *", "* "+source, "* "+source+" *")
	}
	return patterns
}
