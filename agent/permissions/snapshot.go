package permissions

import (
	"slices"
	"time"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

// snapshot is what the command of that name needs, without --keep: snapshots of the instance's own volumes,
// tagged for the sources. It rejects its own if the file system was thawed too early.
func snapshot(s Settings) []Statement {
	resource := s.arn("ec2", "snapshot/*")
	return []Statement{
		read("ec2:DescribeSnapshots", "ec2:DescribeVolumes"),
		allow("SnapshotOwnVolumes", []string{"ec2:CreateSnapshot"}, s.arn("ec2", "volume/*"), s.onOwn()),
		allow("AsReleasesOfTheSource", []string{"ec2:CreateSnapshot"}, resource,
			when("StringEquals", requestTag+ec2ops.TagSource, s.Sources...),
			when("StringEqualsIfExists", requestTag+ec2ops.TagName, s.Sources...),
			when("StringEqualsIfExists", requestTag+ec2ops.TagCandidate, s.Sources...)),
		allow("TagNewSnapshots", []string{"ec2:CreateTags"}, resource, when("StringEquals", "ec2:CreateAction", "CreateSnapshot")),
		allow("RejectOwnSnapshots", []string{"ec2:CreateTags"}, resource, s.onOwn(),
			when("StringEquals", requestTag+ec2ops.TagName, s.rejected()...),
			onlyTags(ec2ops.TagName, ec2ops.TagSource, ec2ops.TagRejected)),
	}
}

// reject is what snapshots, reject and promote need. A snapshot of a source has its name in the tag Name,
// which says also when it is rejected; a candidate has it in snapsource:source only.
func reject(s Settings) []Statement {
	resource := s.arn("ec2", "snapshot/*")
	named, of := slices.Concat(s.Sources, s.rejected()), when("StringEquals", resourceTag+ec2ops.TagSource, s.Sources...)
	tags := []Condition{
		when("StringEquals", requestTag+ec2ops.TagName, named...),
		when("StringEquals", requestTag+ec2ops.TagSource, s.Sources...),
		onlyTags(ec2ops.TagName, ec2ops.TagSource, ec2ops.TagRejected, ec2ops.TagPromoted),
	}
	return []Statement{
		read("ec2:DescribeSnapshots"),
		allow("RejectOrPromoteByName", []string{"ec2:CreateTags"}, resource, append(tags, when("StringEquals", resourceTag+ec2ops.TagName, named...))...),
		allow("RejectOrPromoteCandidates", []string{"ec2:CreateTags"}, resource, append(tags, of)...),
		// The tags of a volume are also on a snapshot that was made of it by others.
		allow("Promote", []string{"ec2:DeleteTags"}, resource, of, withTags(),
			onlyTags(ec2ops.TagRejected, ec2ops.TagSnapshot, ec2ops.TagFormatted, ec2ops.TagStarted)),
	}
}

// rejected are the values of the tag Name of the sources' rejected snapshots.
func (s Settings) rejected() (names []string) {
	for _, source := range s.Sources {
		names = append(names, releases.Rejection(source, "", time.Time{})[ec2ops.TagName])
	}
	return names
}

// prune is what the command of that name needs. No condition key says whether a volume's instance
// exists, or that a snapshot is old, so whoever may prune may delete any release of the source, and
// any detached volume.
func prune(s Settings) []Statement {
	return []Statement{
		read("autoscaling:DescribeAutoScalingGroups", "ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSnapshots", "ec2:DescribeVolumes"),
		allow("DeleteSnapshots", []string{"ec2:DeleteSnapshot"}, s.arn("ec2", "snapshot/*"),
			when("StringEquals", resourceTag+ec2ops.TagName, slices.Concat(s.Sources, s.rejected())...)),
		allow("DeleteVolumes", []string{"ec2:DeleteVolume"}, s.arn("ec2", "volume/*"),
			when("StringEquals", resourceTag+ec2ops.TagSource, s.Sources...)),
	}
}

// publish is what the command of that name needs. Whoever may make a version of a launch template
// decides what its instances run: the image, the user-data, the instance profile.
func publish(s Settings) []Statement {
	change := allow("PublishInLaunchTemplates", []string{
		"ec2:CreateLaunchTemplateVersion", "ec2:DeleteLaunchTemplateVersions", "ec2:ModifyLaunchTemplate",
	}, s.arn("ec2", "launch-template/*"))
	if len(s.Templates) > 0 {
		change.Resource = nil
	}
	for _, id := range s.Templates {
		change.Resource = append(change.Resource, s.arn("ec2", "launch-template/"+id))
	}
	return []Statement{read("autoscaling:DescribeAutoScalingGroups", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSnapshots"), change}
}
