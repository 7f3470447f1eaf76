package ec2test

import (
	"slices"
	"strings"
	"time"
)

// members is a list element of Auto Scaling.
type members[T any] struct {
	Items []T `xml:"member"`
}

type memberItem struct {
	InstanceID string         `xml:"InstanceId"`
	Group      string         `xml:"AutoScalingGroupName,omitempty"`
	Type       string         `xml:"InstanceType"`
	Zone       string         `xml:"AvailabilityZone"`
	State      string         `xml:"LifecycleState"`
	Health     string         `xml:"HealthStatus"`
	Protected  bool           `xml:"ProtectedFromScaleIn"`
	Template   *groupTemplate `xml:"LaunchTemplate,omitempty"`
}

// groupTemplate is the launch template of a group or of a member.
type groupTemplate struct {
	ID      string `xml:"LaunchTemplateId,omitempty"`
	Name    string `xml:"LaunchTemplateName,omitempty"`
	Version string `xml:"Version"`
}

// groupTemplate describes a group's launch template, or returns nil for a launch configuration.
func (w *World) groupTemplate(g *Group) *groupTemplate {
	t, _, _ := g.launchTemplate(w) // a version that does not exist is shown as well
	switch {
	case g.TemplateVersion == "":
		return nil
	case t != nil:
		return &groupTemplate{t.ID, t.Name, g.TemplateVersion}
	case strings.HasPrefix(g.Template, "lt-"):
		return &groupTemplate{ID: g.Template, Version: g.TemplateVersion}
	}
	return &groupTemplate{ID: g.TemplateID, Name: g.Template, Version: g.TemplateVersion}
}

// memberTemplate describes the launch template that a member's instance was launched from.
func (w *World) memberTemplate(m *Member) *groupTemplate {
	if m.TemplateID == "" {
		return nil
	}
	item := &groupTemplate{ID: m.TemplateID, Version: decimal(m.TemplateVersion)}
	if t := w.Templates[m.TemplateID]; t != nil {
		item.Name = t.Name
	}
	return item
}

// items describes the members that match.
func (g *Group) items(w *World, now time.Time, want func(*Member) bool) (items []memberItem) {
	for _, m := range g.Members {
		if i := w.Instances[m.InstanceID]; want(m) {
			health := "Healthy"
			if i.State(now) == "terminated" {
				health = "Unhealthy"
			}
			items = append(items, memberItem{m.InstanceID, g.Name, i.Type, i.Zone, m.Lifecycle(), health, false, w.memberTemplate(m)})
		}
	}
	return items
}

// groups returns the groups that a call names, or all.
func (w *World) groups(names []string) (all []*Group) {
	for _, name := range sortedKeys(w.Groups) {
		if len(names) == 0 || slices.Contains(names, name) {
			all = append(all, w.Groups[name])
		}
	}
	return all
}

type groupItem struct {
	Name      string                `xml:"AutoScalingGroupName"`
	ARN       string                `xml:"AutoScalingGroupARN"`
	Min       int64                 `xml:"MinSize"`
	Max       int64                 `xml:"MaxSize"`
	Desired   int64                 `xml:"DesiredCapacity"`
	Cooldown  int64                 `xml:"DefaultCooldown"`
	Zones     members[string]       `xml:"AvailabilityZones"`
	Subnets   string                `xml:"VPCZoneIdentifier,omitempty"`
	Template  *groupTemplate        `xml:"LaunchTemplate,omitempty"`
	Mixed     *mixedPolicy          `xml:"MixedInstancesPolicy,omitempty"`
	Health    string                `xml:"HealthCheckType"`
	Created   string                `xml:"CreatedTime"`
	Status    string                `xml:"Status,omitempty"`
	Instances members[memberItem]   `xml:"Instances"`
	Tags      members[groupTagItem] `xml:"Tags"`
}

// mixedPolicy is a mixed instances policy. Its overrides are not simulated.
type mixedPolicy struct {
	Template groupTemplate `xml:"LaunchTemplate>LaunchTemplateSpecification"`
}

type groupsAnswer struct {
	Groups members[groupItem] `xml:"AutoScalingGroups"`
	Next   string             `xml:"NextToken,omitempty"`
}

// The number of groups on a page: by default, and at most. (API reference,
// DescribeAutoScalingGroups)
const (
	groupsPage    = 50
	maxGroupsPage = 100
)

// page cuts a page off the groups. A token is the name of the page's first group.
func (a *groupsAnswer) page(size int64, token string) {
	items := a.Groups.Items
	for token != "" && len(items) > 0 && items[0].Name < token {
		items = items[1:]
	}
	if int64(len(items)) > size {
		a.Next, items = items[size].Name, items[:size]
	}
	a.Groups.Items = items
}

func (s *Server) describeGroups(c *call) (any, error) {
	names, size, token := c.list("AutoScalingGroupNames.member"), int64(groupsPage), c.text("NextToken")
	if c.has("MaxRecords") {
		size = c.number("MaxRecords")
	}
	if size < 1 || size > maxGroupsPage {
		c.fail(invalid("MaxRecords must be between 1 and %d.", maxGroupsPage))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	var answer groupsAnswer
	err := s.store.View(c.ctx, func(w *World) error {
		for _, g := range w.groups(names) {
			item := groupItem{
				Name: g.Name, ARN: s.groupARN(g.Name),
				Min: g.Min, Max: g.Max, Desired: g.Desired, Cooldown: 300, Zones: members[string]{g.Zones}, Subnets: g.Subnets, Template: w.groupTemplate(g), Health: "EC2", Created: stamp(g.Created),
				Instances: members[memberItem]{g.items(w, c.now, func(m *Member) bool { return !m.Warm })},
				Tags:      members[groupTagItem]{g.tagItems()},
			}
			if g.Mixed && item.Template != nil {
				item.Mixed, item.Template = &mixedPolicy{*item.Template}, nil
			}
			if !g.Deleted.IsZero() {
				item.Status = "Delete in progress"
			}
			for n := range item.Instances.Items {
				item.Instances.Items[n].Group = ""
			}
			answer.Groups.Items = append(answer.Groups.Items, item)
		}
		return nil
	})
	answer.page(size, token)
	return answer, err
}

type membersAnswer struct {
	Instances members[memberItem] `xml:"AutoScalingInstances"`
}

func (s *Server) describeMembers(c *call) (any, error) {
	ids := c.list("InstanceIds.member")
	c.number("MaxRecords")
	if err := c.check(); err != nil {
		return nil, err
	}
	var answer membersAnswer
	if c.hit.has(Unlisted) {
		return answer, nil
	}
	err := s.store.View(c.ctx, func(w *World) error {
		for _, g := range w.groups(nil) {
			answer.Instances.Items = append(answer.Instances.Items, g.items(w, c.now, func(m *Member) bool {
				return len(ids) == 0 || slices.Contains(ids, m.InstanceID)
			})...)
		}
		return nil
	})
	if f, has := c.hit.find(Lifecycle); has {
		for n := range answer.Instances.Items {
			answer.Instances.Items[n].State = f.State
		}
	}
	return answer, err
}

type poolItem struct {
	Reaches *int64 `xml:"MaxGroupPreparedCapacity,omitempty"`
	Least   int64  `xml:"MinSize"`
	State   string `xml:"PoolState"`
}

type poolAnswer struct {
	Pool      *poolItem           `xml:"WarmPoolConfiguration,omitempty"`
	Instances members[memberItem] `xml:"Instances"`
}

func (s *Server) describeWarmPool(c *call) (any, error) {
	name := c.required("AutoScalingGroupName")
	c.number("MaxRecords")
	if err := c.check(); err != nil {
		return nil, err
	}
	var answer poolAnswer
	err := s.store.View(c.ctx, func(w *World) error {
		for _, g := range w.groups([]string{name}) {
			if g.Pool != nil {
				answer.Pool = &poolItem{Least: g.Pool.Least, State: g.Pool.State}
				if g.Pool.Reaches >= 0 {
					answer.Pool.Reaches = &g.Pool.Reaches
				}
			}
			answer.Instances.Items = g.items(w, c.now, func(m *Member) bool { return m.Warm })
		}
		return nil
	})
	return answer, err
}

type hookItem struct {
	Name       string `xml:"LifecycleHookName"`
	Group      string `xml:"AutoScalingGroupName"`
	Transition string `xml:"LifecycleTransition"`
	Timeout    int64  `xml:"HeartbeatTimeout"`
	Global     int64  `xml:"GlobalTimeout"`
	Default    string `xml:"DefaultResult"`
}

type hooksAnswer struct {
	Hooks members[hookItem] `xml:"LifecycleHooks"`
}

func (s *Server) describeHooks(c *call) (any, error) {
	name, only := c.required("AutoScalingGroupName"), c.list("LifecycleHookNames.member")
	if err := c.check(); err != nil {
		return nil, err
	}
	var answer hooksAnswer
	err := s.store.View(c.ctx, func(w *World) error {
		for _, g := range w.groups([]string{name}) {
			for _, hook := range sortedKeys(g.Hooks) {
				h := g.Hooks[hook]
				if len(only) == 0 || slices.Contains(only, hook) {
					answer.Hooks.Items = append(answer.Hooks.Items, hookItem{hook, name, onLaunch, int64(h.Timeout.Seconds()),
						int64(min(mostWait, mostHeartbeats*h.Timeout).Seconds()), h.Default})
				}
			}
		}
		return nil
	})
	return answer, err
}

type activityItem struct {
	ID          string `xml:"ActivityId"`
	Group       string `xml:"AutoScalingGroupName"`
	Description string `xml:"Description"`
	Cause       string `xml:"Cause"`
	Began       string `xml:"StartTime"`
	Ended       string `xml:"EndTime"`
	Status      string `xml:"StatusCode"`
	Message     string `xml:"StatusMessage,omitempty"`
	Progress    int    `xml:"Progress"`
}

type activitiesAnswer struct {
	Activities members[activityItem] `xml:"Activities"`
}

// describeActivities lists them newest first, as Auto Scaling does.
func (s *Server) describeActivities(c *call) (any, error) {
	name := c.required("AutoScalingGroupName")
	c.number("MaxRecords")
	if err := c.check(); err != nil {
		return nil, err
	}
	var answer activitiesAnswer
	err := s.store.View(c.ctx, func(w *World) error {
		for _, g := range w.groups([]string{name}) {
			for _, a := range slices.Backward(g.Activities) {
				answer.Activities.Items = append(answer.Activities.Items, activityItem{
					a.ID, name, a.Description, a.Cause, stamp(a.Began), stamp(a.Ended), a.Status, a.Message, 100,
				})
			}
		}
		return nil
	})
	return answer, err
}
