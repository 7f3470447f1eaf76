package ec2test

// GroupTag is a tag of an Auto Scaling group.
type GroupTag struct {
	Value    string `json:",omitempty"`
	AtLaunch bool   `json:",omitempty"` // an instance that the group launches gets it; its volumes do not
}

// groupResource is the only type of resource that has tags in Auto Scaling. (API reference, Tag)
const groupResource = "auto-scaling-group"

// groupTags reads the tags of a new group. (API reference, Tag, for the parameters; Auto Scaling's
// wording for a bad one is not known)
func (c *call) groupTags(group string) map[string]GroupTag {
	tags, plain := map[string]GroupTag{}, Tags{}
	for _, item := range c.items("Tags.member") {
		key := c.required(item + ".Key")
		if _, twice := tags[key]; twice {
			c.fail(invalid("Duplicate keys are not allowed in tags: %s", key))
		}
		if id := c.text(item + ".ResourceId"); id != "" && id != group {
			c.fail(invalid("The tag's ResourceId %s is not the group's name %s", id, group))
		}
		if kind := c.text(item + ".ResourceType"); kind != "" && kind != groupResource {
			c.fail(invalid("Resource type %s is invalid: %s is the only one", kind, groupResource))
		}
		plain[key] = c.text(item + ".Value")
		tags[key] = GroupTag{Value: plain[key], AtLaunch: c.truth(item+".PropagateAtLaunch", false)}
	}
	if err := validTags(plain); err != nil {
		c.fail(invalid("%s", asError(err).Message))
	}
	return tags
}

// tagInstance adds the group's tags to those of a new instance. They replace tags of the launch
// template with the same key. (Auto Scaling user guide, "Tag Auto Scaling groups and instances")
func (g *Group) tagInstance(tags Tags) {
	for key, tag := range g.Tags {
		if tag.AtLaunch {
			tags[key] = tag.Value
		}
	}
}

// groupTagItem describes a tag of a group. (API reference, TagDescription)
type groupTagItem struct {
	ResourceID   string `xml:"ResourceId"`
	ResourceType string `xml:"ResourceType"`
	Key          string `xml:"Key"`
	Value        string `xml:"Value"`
	AtLaunch     bool   `xml:"PropagateAtLaunch"`
}

func (g *Group) tagItems() (items []groupTagItem) {
	for _, key := range sortedKeys(g.Tags) {
		items = append(items, groupTagItem{g.Name, groupResource, key, g.Tags[key].Value, g.Tags[key].AtLaunch})
	}
	return items
}
