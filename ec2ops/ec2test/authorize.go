package ec2test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"snapsource/ec2ops/ec2test/iam"
)

// SetPolicies sets the policies of the instances' role and of the operator outside the instances, in all
// regions of the account: IAM has none. With nil, the role is denied what Options.Deny lists, and the
// operator nothing.
func (s *Server) SetPolicies(role, operator *iam.Policy) {
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	s.places.policies[s.opts.Account] = policies{role, operator}
}

// policies are those of the callers.
type policies struct{ role, operator *iam.Policy }

func (s *Server) policyOf(caller *Instance) *iam.Policy {
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	of, set := s.places.policies[s.opts.Account]
	switch {
	case caller == nil:
		return of.operator
	case !set:
		return s.opts.Policy
	}
	return of.role
}

// authorize evaluates the caller's policy for each resource of a call, in the order in which EC2 reports
// what is missing: first the action itself, then ec2:CreateTags of a call that also tags.
func (s *Server) authorize(c *call, action string) error {
	policy := s.policyOf(c.caller)
	if policy == nil || action == "GetCallerIdentity" { // which needs no permission (STS, API reference)
		return nil
	}
	a := authorization{s: s, c: c}
	if err := s.store.View(c.ctx, func(w *World) error {
		a.w = w
		a.of(action)
		return nil
	}); err != nil {
		return err
	}
	if action == "CopySnapshot" {
		if err := a.ofCopied(); err != nil {
			return err
		}
	}
	for _, r := range a.requests {
		if d := policy.Decide(r); !d.Allowed {
			return s.unauthorized(c.caller, r, d.Explicit)
		}
	}
	return nil
}

// unauthorized returns the error with AWS's text. A call without resource types names none. (IAM user
// guide, "Troubleshoot access denied error messages")
func (s *Server) unauthorized(caller *Instance, r iam.Request, explicit bool) error {
	text := fmt.Sprintf("User: %s is not authorized to perform: %s", s.callerARN(caller), r.Action)
	if r.Resource != "*" {
		text += " on resource: " + r.Resource
	}
	if explicit {
		text += " with an explicit deny in an identity-based policy"
	} else {
		text += " because no identity-based policy allows the " + r.Action + " action"
	}
	if strings.HasPrefix(r.Action, "autoscaling:") {
		return fail("AccessDenied", "%s", text)
	}
	return fail("UnauthorizedOperation", "You are not authorized to perform this operation. %s. Encoded authorization failure message: %s", text, s.random.hex(64))
}

// authorization collects the requests of a call.
type authorization struct {
	s        *Server
	c        *call
	w        *World
	requests []iam.Request
}

// of adds the requests of an action. One that is not modelled concerns the resource "*", so that a policy
// does not allow it unless it allows it for everything.
func (a *authorization) of(action string) {
	switch c := a.c; action {
	case "CreateVolume":
		a.created(action, "volume")
		if id := c.form.Get("SnapshotId"); id != "" {
			a.existing(action, id, nil)
		}
		a.tagged(action, "volume")
	case "CreateSnapshot":
		a.created(action, "snapshot")
		a.existing(action, c.form.Get("VolumeId"), nil)
		a.tagged(action, "snapshot")
	case "CopySnapshot":
		a.created(action, "snapshot")
		a.tagged(action, "snapshot")
	case "AttachVolume", "DetachVolume":
		a.existing(action, c.form.Get("VolumeId"), nil)
		if id := c.form.Get("InstanceId"); id != "" { // optional for DetachVolume
			a.existing(action, id, nil)
		}
	case "DeleteVolume":
		a.existing(action, c.form.Get("VolumeId"), nil)
	case "DeleteSnapshot":
		a.existing(action, c.form.Get("SnapshotId"), nil)
	case "ModifyInstanceAttribute":
		a.modification()
	case "CreateTags", "DeleteTags":
		for _, item := range c.items("ResourceId") {
			a.existing(action, c.form.Get(item), c.plainTags("Tag"))
		}
	case "CreateLaunchTemplateVersion", "ModifyLaunchTemplate", "DeleteLaunchTemplateVersions":
		if t, err := a.w.template(templateRef{c.form.Get("LaunchTemplateId"), c.form.Get("LaunchTemplateName")}); err == nil {
			a.existing(action, t.ID, nil)
		}
	case "CompleteLifecycleAction", "RecordLifecycleActionHeartbeat":
		a.add("autoscaling:"+action, a.s.groupARN(c.form.Get("AutoScalingGroupName")), iam.Context{})
	default:
		service := "ec2:"
		if groupActions[action] != nil {
			service = "autoscaling:"
		}
		a.add(service+action, "*", iam.Context{})
	}
}

// add adds a request with the keys that every one has, and without those that the reference does not
// list for the action and the type of resource.
func (a *authorization) add(action, resource string, context iam.Context) {
	context.Set("aws:RequestedRegion", a.s.opts.Region)
	context.Set("ec2:Region", a.s.opts.Region)
	context.Set("aws:PrincipalAccount", a.s.opts.Account)
	if a.c.caller == nil {
		context.Set("aws:userid", operatorID)
	} else { // (IAM user guide, "AWS global condition context keys": aws:userid of an instance's role)
		context.Set("aws:userid", roleID+":"+a.c.caller.ID)
		context.Set("ec2:SourceInstanceARN", a.c.home.arn("instance", a.c.caller.ID))
	}
	maps.DeleteFunc(context, func(key string, _ []string) bool {
		return !iam.Supports(action, iam.TypeOf(resource), key)
	})
	a.requests = append(a.requests, iam.Request{Action: action, Resource: resource, Context: context})
}

// Unique ids of the callers, as IAM forms them.
const (
	operatorID = "AIDAEC2TESTOPERATOR00"
	roleID     = "AROAEC2TESTROLE000000"
)

// created adds the request for a resource that the call makes. It has no id yet, and no tags.
func (a *authorization) created(action, resourceType string) {
	context := iam.Context{}
	requestTags(context, a.c.plainTags("TagSpecification.1.Tag"))
	a.add("ec2:"+action, a.s.arn(resourceType, "*"), context)
}

// tagged adds the request for the tags of a resource that the call makes. (EC2 user guide, "Grant
// permission to tag Amazon EC2 resources during creation")
func (a *authorization) tagged(action, resourceType string) {
	tags := a.c.plainTags("TagSpecification.1.Tag")
	if len(tags) == 0 {
		return
	}
	context := iam.Context{}
	requestTags(context, tags)
	context.Set("ec2:CreateAction", action)
	a.add("ec2:CreateTags", a.s.arn(resourceType, "*"), context)
}

func requestTags(context iam.Context, tags Tags) {
	for key, value := range tags {
		context.Set("aws:RequestTag/"+key, value)
	}
	if len(tags) > 0 {
		context.Set("aws:TagKeys", slices.Sorted(maps.Keys(tags))...)
	}
}

// existing adds the request for a resource that exists, or has existed. For another id the call fails
// with its NotFound.
func (a *authorization) existing(action, id string, tags Tags) {
	context := iam.Context{}
	requestTags(context, tags)
	if arn, ok := a.describe(id, context); ok {
		a.add("ec2:"+action, arn, context)
	}
}

// describe adds the keys that describe a resource, and returns its ARN.
func (a *authorization) describe(id string, context iam.Context) (arn string, ok bool) {
	var tags Tags
	resourceType := ""
	switch {
	case a.w.Instances[id] != nil:
		resourceType, tags = "instance", a.w.Instances[id].Tags
		context.Set("ec2:InstanceID", id)
	case a.w.Volumes[id] != nil:
		resourceType, tags = "volume", a.w.Volumes[id].Tags
		context.Set("ec2:VolumeID", id)
	case a.w.snapshot(id) != nil:
		snap := a.w.snapshot(id)
		resourceType, tags = "snapshot", snap.tagsSeenBy(a.s.opts.Account)
		context.Set("ec2:SnapshotID", id)
		context.Set("ec2:Owner", snap.Owner)
	case a.w.Templates[id] != nil:
		resourceType, tags = "launch-template", a.w.Templates[id].Tags
	default:
		return "", false
	}
	for key, value := range tags {
		context.Set("aws:ResourceTag/"+key, value)
		context.Set("ec2:ResourceTag/"+key, value)
	}
	return a.s.arn(resourceType, id), true
}

// modification adds the requests of ModifyInstanceAttribute: for the instance with the attribute's name,
// for the volumes of a block device mapping, and for security groups. The value of ec2:Attribute for an
// attribute with parts is not documented; policies in use have BlockDeviceMapping.
func (a *authorization) modification() {
	const action = "ModifyInstanceAttribute"
	c, context := a.c, iam.Context{}
	for key := range c.form {
		name, _, _ := strings.Cut(key, ".")
		if !slices.Contains([]string{"Action", "Version", "InstanceId", "DryRun", "Attribute", "Value"}, name) {
			context.Set("ec2:Attribute", name)
		}
	}
	if name := c.form.Get("Attribute"); name != "" {
		context.Set("ec2:Attribute", strings.ToUpper(name[:1])+name[1:])
	}
	arn, ok := a.describe(c.form.Get("InstanceId"), context)
	if !ok {
		return
	}
	a.add("ec2:"+action, arn, context)
	for _, item := range c.items("BlockDeviceMapping") {
		if id := c.form.Get(item + ".Ebs.VolumeId"); id != "" {
			a.existing(action, id, nil)
		}
	}
	for _, item := range c.items("GroupId") {
		a.add("ec2:"+action, a.s.arn("security-group", c.form.Get(item)), iam.Context{})
	}
}

// groupARN returns the ARN of an Auto Scaling group. It lacks the group's UUID.
func (s *Server) groupARN(name string) string {
	return "arn:aws:autoscaling:" + s.opts.Region + ":" + s.opts.Account + ":autoScalingGroup::autoScalingGroupName/" + name
}

// arn returns a resource's ARN. A snapshot's has no account.
func (s *Server) arn(resourceType, id string) string {
	account := s.opts.Account
	if resourceType == "snapshot" {
		account = ""
	}
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", s.opts.Region, account, resourceType, id)
}

// plainTags returns the tags at a prefix, unchecked.
func (p *params) plainTags(prefix string) Tags {
	tags := Tags{}
	for _, item := range p.items(prefix) {
		tags[p.form.Get(item+".Key")] = p.form.Get(item + ".Value")
	}
	return tags
}
