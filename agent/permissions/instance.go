package permissions

import (
	"slices"

	"snapsource/ec2ops"
)

// ownRoles is what up and down need to put the roles on their instance, and to remove them. DeleteTags has
// no condition key that names an instance, so up also tags the instance with its own id, and only an
// instance that is tagged with the caller's id loses tags.
func ownRoles(s Settings) []Statement {
	if len(s.Roles) == 0 {
		return nil
	}
	instance := s.arn("ec2", "instance/*")
	return []Statement{
		allow("PutOwnRoles", []string{"ec2:CreateTags"}, instance, s.isThisInstance("ec2:InstanceID"),
			onlyTags(slices.Concat(s.Roles, []string{ec2ops.TagInstance})...)),
		allow("RemoveOwnRoles", []string{"ec2:DeleteTags"}, instance, s.onOwn(), onlyTags(s.Roles...), withTags()),
	}
}

// launchHook is what up needs to complete its launch hook. No key says for which instance a lifecycle
// action is, so an instance can complete those of the others in its group.
func launchHook(s Settings) []Statement {
	if !s.Hook {
		return nil
	}
	complete := allow("CompleteTheLaunchHook", []string{"autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"}, "")
	complete.Resource = nil
	for _, name := range s.Groups {
		complete.Resource = append(complete.Resource, s.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+name))
	}
	if len(s.Groups) == 0 {
		complete.Resource = []string{s.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")}
	}
	return []Statement{read("autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLifecycleHooks"), complete}
}
