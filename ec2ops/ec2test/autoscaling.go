package ec2test

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// groupActions are those of Amazon EC2 Auto Scaling.
var groupActions = handlers{
	"CreateAutoScalingGroup":              (*Server).createGroup,
	"UpdateAutoScalingGroup":              (*Server).updateGroup,
	"SetDesiredCapacity":                  (*Server).setDesiredCapacity,
	"DeleteAutoScalingGroup":              (*Server).deleteGroup,
	"DescribeAutoScalingGroups":           (*Server).describeGroups,
	"DescribeAutoScalingInstances":        (*Server).describeMembers,
	"DescribeScalingActivities":           (*Server).describeActivities,
	"PutLifecycleHook":                    (*Server).putHook,
	"DescribeLifecycleHooks":              (*Server).describeHooks,
	"DeleteLifecycleHook":                 (*Server).deleteHook,
	"CompleteLifecycleAction":             (*Server).completeAction,
	"RecordLifecycleActionHeartbeat":      (*Server).recordHeartbeat,
	"TerminateInstanceInAutoScalingGroup": (*Server).terminateMember,
	"PutWarmPool":                         (*Server).putWarmPool,
	"DescribeWarmPool":                    (*Server).describeWarmPool,
}

// errUnchanged leaves the World unwritten.
var errUnchanged = errors.New("nothing has changed")

// invalid returns ValidationError, Auto Scaling's code for most errors.
func invalid(format string, args ...any) *Error { return fail("ValidationError", format, args...) }

// change changes a group and computes the effects.
func (s *Server) change(c *call, name string, do func(w *World, g *Group) error) error {
	if err := c.check(); err != nil {
		return err
	}
	c.resource = name
	err := s.store.Update(c.ctx, func(w *World) error {
		g := w.Groups[name]
		if g == nil || !g.Deleted.IsZero() {
			return invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
		}
		return do(w, g)
	})
	if err != nil {
		return err
	}
	return s.settle(c.ctx)
}

// sizes reads a group's size parameters; absent ones stay.
func (g *Group) sizes(c *call) {
	for name, n := range map[string]*int64{"MinSize": &g.Min, "MaxSize": &g.Max, "DesiredCapacity": &g.Desired} {
		if c.has(name) {
			*n = c.number(name)
		}
	}
	if zones := c.list("AvailabilityZones.member"); len(zones) > 0 {
		g.Zones = zones
	}
	if subnets := c.text("VPCZoneIdentifier"); subnets != "" {
		g.Subnets = subnets
	}
	g.template(c)
}

// template reads the group's launch template or configuration; an absent one stays. Of a mixed
// instances policy only the launch template counts.
func (g *Group) template(c *call) {
	for _, mixed := range []bool{false, true} {
		prefix := "LaunchTemplate."
		if mixed {
			prefix = "MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification."
		}
		name, id, version := c.text(prefix+"LaunchTemplateName"), c.text(prefix+"LaunchTemplateId"), c.text(prefix+"Version")
		if name != "" || id != "" {
			g.Template, g.TemplateID, g.TemplateVersion, g.Mixed = cmp.Or(id, name), "", cmp.Or(version, defaultVersion), mixed
		}
	}
	if configuration := c.text("LaunchConfigurationName"); configuration != "" {
		g.Template, g.TemplateID, g.TemplateVersion, g.Mixed = configuration, "", "", false
	}
}

// sound returns an error for an invalid combination of sizes.
func (g *Group) sound() error {
	switch {
	case g.Min > g.Max || g.Min < 0:
		return invalid("Max bound, %d, must be greater than or equal to min bound, %d", g.Max, g.Min)
	case g.Desired > g.Max:
		return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", g.Desired, g.Min, g.Max)
	case g.Desired < g.Min:
		return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", g.Desired, g.Min, g.Max)
	}
	return nil
}

func (s *Server) createGroup(c *call) (any, error) {
	g := &Group{Name: c.required("AutoScalingGroupName"), Created: c.now, Hooks: map[string]Hook{}}
	c.required("MinSize")
	c.required("MaxSize")
	g.sizes(c)
	if !c.has("DesiredCapacity") {
		g.Desired = g.Min
	}
	for _, item := range c.items("LifecycleHookSpecificationList.member") {
		name, h := c.hook(item + ".")
		g.Hooks[name] = h
	}
	g.Tags = c.groupTags(g.Name)
	if g.Template == "" {
		c.fail(invalid("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter."))
	}
	if len(g.Zones) == 0 && g.Subnets == "" {
		c.fail(invalid("At least one Availability Zone or VPC Subnet is required."))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := g.sound(); err != nil {
		return nil, err
	}
	c.resource = g.Name
	if err := s.store.Update(c.ctx, func(w *World) error {
		if w.Groups[g.Name] != nil {
			return fail("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", g.Name)
		}
		if err := s.useTemplate(w, g, c.now); err != nil {
			return err
		}
		w.Groups[g.Name] = g
		return nil
	}); err != nil {
		return nil, err
	}
	return struct{}{}, s.settle(c.ctx)
}

func (s *Server) updateGroup(c *call) (any, error) {
	name := c.required("AutoScalingGroupName")
	(&Group{}).sizes(c) // reads the parameters; the group's own sizes are not known yet
	return struct{}{}, s.change(c, name, func(w *World, g *Group) error {
		changed := g.clone()
		changed.sizes(c)
		if err := changed.sound(); err != nil {
			return err
		}
		if c.has("LaunchTemplate.LaunchTemplateName") || c.has("LaunchTemplate.LaunchTemplateId") {
			if err := s.useTemplate(w, changed, c.now); err != nil {
				return err
			}
			changed.Retry = time.Time{}
		}
		g.sizes(c)
		g.TemplateID, g.Retry = changed.TemplateID, changed.Retry
		return nil
	})
}

func (s *Server) setDesiredCapacity(c *call) (any, error) {
	name, desired := c.required("AutoScalingGroupName"), c.number("DesiredCapacity")
	c.required("DesiredCapacity")
	c.truth("HonorCooldown", false)
	return struct{}{}, s.change(c, name, func(_ *World, g *Group) error {
		changed := g.clone()
		changed.Desired = desired
		if err := changed.sound(); err != nil {
			return err
		}
		g.Desired = desired
		return nil
	})
}

func (s *Server) deleteGroup(c *call) (any, error) {
	name, force := c.required("AutoScalingGroupName"), c.truth("ForceDelete", false)
	return struct{}{}, s.change(c, name, func(_ *World, g *Group) error {
		if len(g.Members) > 0 && !force {
			return fail("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
		}
		g.Deleted = c.now
		return nil
	})
}

func (s *Server) terminateMember(c *call) (any, error) {
	id, fewer := c.required("InstanceId"), c.truth("ShouldDecrementDesiredCapacity", false)
	c.required("ShouldDecrementDesiredCapacity")
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	var deleted []string
	if err := s.store.Update(c.ctx, func(w *World) error {
		g, m := w.member(id)
		switch {
		case m == nil:
			return invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
		case fewer && g.Desired == g.Min:
			return invalid("Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min size constraint.", g.Min)
		case fewer:
			g.Desired--
		}
		x := &settling{s: s, w: w, now: c.now}
		x.terminate(g, m, "an instance was taken out of service in response to a user request.", "")
		deleted = x.deleted
		return nil
	}); err != nil {
		return nil, err
	}
	if err := s.forget(c.ctx, deleted); err != nil {
		return nil, err
	}
	return struct{}{}, s.settle(c.ctx)
}

func (s *Server) putWarmPool(c *call) (any, error) {
	name := c.required("AutoScalingGroupName")
	pool := &WarmPool{State: c.text("PoolState"), Least: c.number("MinSize"), Reaches: -1}
	if c.has("MaxGroupPreparedCapacity") {
		pool.Reaches = c.number("MaxGroupPreparedCapacity")
	}
	setDefault(&pool.State, poolStopped)
	if !slices.Contains([]string{poolStopped, poolRunning}, pool.State) {
		c.fail(invalid("PoolState %s is not known here: Stopped or Running", pool.State))
	}
	return struct{}{}, s.change(c, name, func(_ *World, g *Group) error { g.Pool = pool; return nil })
}
