package ec2ops

import (
	"cmp"
	"context"
	"net/url"
	"slices"
)

// TemplateGroup is an Auto Scaling group's use of a launch template.
type TemplateGroup struct {
	Name         string
	TemplateID   string
	TemplateName string
	Version      string // a number, $Default or $Latest
}

// Uses reports whether the group uses the template, in whatever version.
func (g TemplateGroup) Uses(t Template) bool {
	return g.TemplateID == t.ID || g.TemplateID == "" && g.TemplateName == t.Name
}

// TemplateGroups lists the Auto Scaling groups in the client's account and region by the launch
// templates that they use. A group with a mixed instances policy may use several. A missing
// permission is not retried: the caller can do without the list.
func (c *Client) TemplateGroups(ctx context.Context) (all []TemplateGroup, err error) {
	form := url.Values{"MaxRecords": {"100"}} // the largest page
	for {
		page, err := c.queryAutoScaling(withoutRefusalRetries(ctx), "DescribeAutoScalingGroups", "of the account", form)
		if err != nil {
			return nil, err
		}
		for _, g := range page.child("AutoScalingGroups").children {
			for _, t := range templatesOfGroup(g) {
				use := TemplateGroup{g.value("AutoScalingGroupName"), t.value("LaunchTemplateId"), t.value("LaunchTemplateName"), cmp.Or(t.value("Version"), "$Default")}
				if use.TemplateID != "" || use.TemplateName != "" {
					all = append(all, use)
				}
			}
		}
		next := page.value("NextToken")
		if next == "" {
			return slices.Compact(all), nil
		}
		form.Set("NextToken", next)
	}
}

// templatesOfGroup returns the specifications of launch templates in a group.
func templatesOfGroup(group *element) []*element {
	mixed := group.child("MixedInstancesPolicy", "LaunchTemplate")
	all := []*element{group.child("LaunchTemplate"), mixed.child("LaunchTemplateSpecification")}
	for _, override := range mixed.child("Overrides").children {
		all = append(all, override.child("LaunchTemplateSpecification"))
	}
	return all
}
