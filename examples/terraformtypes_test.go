package examples

import (
	"strings"
)

// The arguments of the resource types, as the documentation of the AWS provider has them (website/docs/r
// in hashicorp/terraform-provider-aws, 2026). Decoding is strict: another argument is an error, and so is
// a missing one that is required. Only what the example uses, or ignores, is listed.

// terraformType is a type of resource.
type terraformType interface {
	// create creates the resource and returns its attributes.
	create(a account) map[string]string
}

var terraformTypes = map[string]func() terraformType{
	"aws_iam_role":             func() terraformType { return &tfRole{} },
	"aws_iam_instance_profile": func() terraformType { return &tfProfile{} },
	"aws_iam_role_policy":      func() terraformType { return &tfRolePolicy{} },
	"aws_launch_template":      func() terraformType { return &tfLaunchTemplate{} },
	"aws_autoscaling_group":    func() terraformType { return &tfGroup{} },
}

type tfRole struct {
	Name  string `hcl:"name,optional"`
	Trust string `hcl:"assume_role_policy"`
}

func (r *tfRole) create(a account) map[string]string {
	a.call("iam", "create-role", map[string]any{"RoleName": r.Name, "AssumeRolePolicyDocument": r.Trust})
	return map[string]string{"id": r.Name, "name": r.Name}
}

type tfProfile struct {
	Name string `hcl:"name,optional"`
	Role string `hcl:"role,optional"`
}

func (p *tfProfile) create(a account) map[string]string {
	a.call("iam", "create-instance-profile", map[string]any{"InstanceProfileName": p.Name})
	a.call("iam", "add-role-to-instance-profile", map[string]any{"InstanceProfileName": p.Name, "RoleName": p.Role})
	return map[string]string{"name": p.Name}
}

type tfRolePolicy struct {
	Name   string `hcl:"name,optional"`
	Role   string `hcl:"role"`
	Policy string `hcl:"policy"`
}

func (p *tfRolePolicy) create(a account) map[string]string {
	a.call("iam", "put-role-policy", map[string]any{"RoleName": p.Role, "PolicyName": p.Name, "PolicyDocument": p.Policy})
	return map[string]string{"id": p.Role + ":" + p.Name}
}

type tfLaunchTemplate struct {
	Name                 string             `hcl:"name,optional"`
	Description          string             `hcl:"description,optional"`
	Image                string             `hcl:"image_id,optional"`
	InstanceType         string             `hcl:"instance_type,optional"`
	SecurityGroups       []string           `hcl:"vpc_security_group_ids,optional"`
	UpdateDefaultVersion bool               `hcl:"update_default_version,optional"`
	UserData             string             `hcl:"user_data,optional"`
	Profile              *tfTemplateProfile `hcl:"iam_instance_profile,block"`
	Metadata             *tfMetadata        `hcl:"metadata_options,block"`
	Mappings             []struct{}         `hcl:"block_device_mappings,block"`
	TagSpecifications    []struct{}         `hcl:"tag_specifications,block"`
}

type tfTemplateProfile struct {
	Name string `hcl:"name,optional"`
}

type tfMetadata struct {
	Endpoint string `hcl:"http_endpoint,optional"`
	Tokens   string `hcl:"http_tokens,optional"`
	Hops     int    `hcl:"http_put_response_hop_limit,optional"`
	Tags     string `hcl:"instance_metadata_tags,optional"`
}

func (l *tfLaunchTemplate) create(a account) map[string]string {
	data := map[string]any{
		"ImageId": l.Image, "InstanceType": l.InstanceType, "UserData": l.UserData,
		"IamInstanceProfile": map[string]any{"Name": l.Profile.Name},
		"MetadataOptions": map[string]any{
			"HttpEndpoint": l.Metadata.Endpoint, "HttpTokens": l.Metadata.Tokens,
			"HttpPutResponseHopLimit": l.Metadata.Hops, "InstanceMetadataTags": l.Metadata.Tags,
		},
	}
	if len(l.SecurityGroups) > 0 {
		data["SecurityGroupIds"] = l.SecurityGroups
	}
	return map[string]string{"id": createTemplate(a, l.Name, data), "name": l.Name}
}

type tfGroup struct {
	Name     string          `hcl:"name,optional"`
	Min      int             `hcl:"min_size"`
	Max      int             `hcl:"max_size"`
	Subnets  []string        `hcl:"vpc_zone_identifier,optional"`
	Template tfGroupTemplate `hcl:"launch_template,block"`
	Hooks    []tfHook        `hcl:"initial_lifecycle_hook,block"`
	Pool     *tfWarmPool     `hcl:"warm_pool,block"`
	Tags     []tfTag         `hcl:"tag,block"`
}

type tfGroupTemplate struct {
	ID      string `hcl:"id,optional"`
	Version string `hcl:"version,optional"`
}

type tfHook struct {
	Name       string `hcl:"name"`
	Transition string `hcl:"lifecycle_transition"`
	Timeout    int    `hcl:"heartbeat_timeout,optional"`
	Default    string `hcl:"default_result,optional"`
}

type tfWarmPool struct {
	State string `hcl:"pool_state,optional"`
	Min   int    `hcl:"min_size,optional"`
	Max   int    `hcl:"max_group_prepared_capacity,optional"`
}

type tfTag struct {
	Key      string `hcl:"key"`
	Value    string `hcl:"value"`
	AtLaunch bool   `hcl:"propagate_at_launch"`
}

func (g *tfGroup) create(a account) map[string]string {
	var hooks, tags []map[string]any
	for _, h := range g.Hooks {
		hooks = append(hooks, map[string]any{
			"LifecycleHookName": h.Name, "LifecycleTransition": h.Transition, "HeartbeatTimeout": h.Timeout, "DefaultResult": h.Default,
		})
	}
	for _, t := range g.Tags { // the provider adds id and type
		tags = append(tags, map[string]any{
			"Key": t.Key, "Value": t.Value, "PropagateAtLaunch": t.AtLaunch, "ResourceId": g.Name, "ResourceType": "auto-scaling-group",
		})
	}
	a.call("autoscaling", "create-auto-scaling-group", map[string]any{
		"AutoScalingGroupName": g.Name, "MinSize": g.Min, "MaxSize": g.Max, "VPCZoneIdentifier": strings.Join(g.Subnets, ","),
		"LaunchTemplate":                 map[string]any{"LaunchTemplateId": g.Template.ID, "Version": g.Template.Version},
		"LifecycleHookSpecificationList": hooks, "Tags": tags,
	})
	if g.Pool != nil {
		a.call("autoscaling", "put-warm-pool", map[string]any{
			"AutoScalingGroupName": g.Name, "PoolState": g.Pool.State, "MinSize": g.Pool.Min, "MaxGroupPreparedCapacity": g.Pool.Max,
		})
	}
	return map[string]string{"name": g.Name}
}
