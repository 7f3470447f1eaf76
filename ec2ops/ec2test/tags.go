package ec2test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits on tags (EC2 user guide, "Tag restrictions"; lengths in characters).
const (
	maxTags     = 50
	maxTagKey   = 127
	maxTagValue = 256
)

func validTags(tags Tags) error {
	for key, value := range tags {
		switch {
		case key == "":
			return fail("InvalidParameterValue", "Tag key cannot be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return fail("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case utf8.RuneCountInString(key) > maxTagKey:
			return fail("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case utf8.RuneCountInString(value) > maxTagValue:
			return fail("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		}
	}
	if len(tags) > maxTags {
		return fail("TagLimitExceeded", "The maximum number of %d tags per resource has been reached.", maxTags)
	}
	return nil
}

// tagged returns the tags of a resource and its type. It gives a resource without tags an
// empty map.
func (s *Server) tagged(w *World, id string, now time.Time) (tags *Tags, resourceType string, err error) {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix {
	case "i":
		i, err := findInstance(w, id, now)
		if err != nil {
			return nil, "", err
		}
		return &i.Tags, "instance", nil
	case "vol":
		v, err := findVolume(w, id, now)
		if err != nil {
			return nil, "", err
		}
		return &v.Tags, "volume", nil
	case "snap":
		snap, err := s.findSnapshot(w, id, now)
		if err != nil {
			return nil, "", err
		}
		return snap.tagsFor(s.opts.Account), "snapshot", nil
	case "ami":
		i, err := w.findImage(id, now)
		if err != nil {
			return nil, "", err
		}
		return &i.Tags, "image", nil
	case "lt":
		t, err := w.template(templateRef{id: id})
		if err != nil {
			return nil, "", err
		}
		return &t.Tags, "launch-template", nil
	}
	return nil, "", fail("InvalidID", "The ID '%s' is not valid", id)
}

func (s *Server) createTags(c *call) (any, error) {
	ids, tags := c.list("ResourceId"), c.tags("")
	return s.changeTags(c, ids, func(old Tags) Tags {
		maps.Copy(old, tags)
		return old
	}, len(tags) == 0)
}

func (s *Server) deleteTags(c *call) (any, error) {
	ids := c.list("ResourceId")
	type removal struct {
		key, value string
		valued     bool
	}
	var removals []removal
	for _, item := range c.items("Tag") {
		removals = append(removals, removal{c.required(item + ".Key"), c.text(item + ".Value"), c.has(item + ".Value")})
	}
	return s.changeTags(c, ids, func(old Tags) Tags {
		for _, r := range removals {
			if value, has := old[r.key]; has && (!r.valued || r.value == value) {
				delete(old, r.key)
			}
		}
		if len(removals) == 0 { // all tags
			clear(old)
		}
		return old
	}, false)
}

// changeTags applies a change to copies of the tags of all resources, and keeps them if all
// are valid.
func (s *Server) changeTags(c *call, ids []string, change func(Tags) Tags, noTags bool) (any, error) {
	if len(ids) == 0 {
		c.fail(missing("resourceIdSet"))
	}
	if noTags {
		c.fail(missing("tagSet"))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = strings.Join(ids, ",")
	err := s.store.Update(c.ctx, func(w *World) error {
		changed := map[*Tags]Tags{}
		for _, id := range ids {
			tags, _, err := s.tagged(w, id, c.now)
			if err != nil {
				return err
			}
			next := Tags{}
			maps.Copy(next, *tags)
			next = change(next)
			ours := maps.Clone(next)
			maps.DeleteFunc(ours, func(key, _ string) bool { return strings.HasPrefix(key, "aws:") }) // AWS's own
			if err := validTags(ours); err != nil {
				return err
			}
			changed[tags] = next
		}
		for tags, next := range changed {
			*tags = next
		}
		return nil
	})
	return answered{true}, err
}

type tagDescription struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

func (t tagDescription) id() string { return t.ResourceID + "/" + t.Key }

func (t tagDescription) attributes() attributes {
	return attributes{
		"resource-id": {t.ResourceID}, "resource-type": {t.ResourceType}, "key": {t.Key}, "value": {t.Value},
		"tag:" + t.Key: {t.Value},
	}
}

type tagsAnswer struct {
	Tags set[tagDescription] `xml:"tagSet"`
	Next string              `xml:"nextToken,omitempty"`
}

func (s *Server) describeTags(c *call) (any, error) {
	sel := c.selection("")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []tagDescription
	if err := s.store.View(c.ctx, func(w *World) error {
		w = w.shown(c.now)
		ids := slices.Concat(sortedKeys(w.Images), sortedKeys(w.Instances), sortedKeys(w.Snapshots), sortedKeys(w.Templates), sortedKeys(w.Volumes))
		for _, id := range ids {
			tags, resourceType, err := s.tagged(w, id, c.now)
			if err != nil {
				continue // deleted
			}
			for _, key := range sortedKeys(*tags) {
				all = append(all, tagDescription{id, resourceType, key, (*tags)[key]})
			}
		}
		slices.SortFunc(all, func(a, b tagDescription) int { return strings.Compare(a.id(), b.id()) })
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, tagDescription.id, tagDescription.attributes, nil)
	return tagsAnswer{set[tagDescription]{page}, next}, err
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// decimal and truth write values as filters compare them.
func decimal(n int64) string { return strconv.FormatInt(n, 10) }
func truth(b bool) string    { return strconv.FormatBool(b) }
