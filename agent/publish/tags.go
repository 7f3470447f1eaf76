package publish

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// Limits on tags (EC2 user guide, "Tag restrictions"; lengths in characters).
const (
	tagsMax     = 50
	tagValueMax = 256
	// tagsLater is how many tags a volume gets when up takes it over: [ec2ops.TagInstance],
	// [ec2ops.TagStarted].
	tagsLater = 2
)

// notOfTemplates are the tags that say something of one volume, not of all volumes of a template.
var notOfTemplates = []string{ec2ops.TagInstance, ec2ops.TagFormatted, ec2ops.TagStarted, ec2ops.TagDiscarded}

// tagsOfVolumes returns the tags that a version gives to volumes.
func tagsOfVolumes(specs []ec2ops.TemplateTags) map[string]string {
	tags := map[string]string{}
	for _, spec := range specs {
		if spec.ResourceType == ec2ops.ResourceVolume {
			for _, tag := range spec.Tags {
				tags[tag.Key] = tag.Value
			}
		}
	}
	return tags
}

// pairsOf returns the snapshots that a version's tags list, by source.
func pairsOf(v ec2ops.TemplateVersion) map[string]string {
	return ec2ops.PublishedSnapshots(tagsOfVolumes(v.Tags))
}

// volumeTags returns the base's tag specifications with the tags of volumes as they are to be, and
// whether they differ from the base's.
func (s seen) volumeTags(base ec2ops.TemplateVersion, mappings []ec2ops.TemplateMapping) (specs []ec2ops.TemplateTags, changed bool, err error) {
	old := tagsOfVolumes(base.Tags)
	tags := maps.Clone(old)
	for _, key := range notOfTemplates {
		delete(tags, key)
	}
	maps.Copy(tags, s.src.Tags)
	sources, snapshots, err := s.lists(base, mappings)
	if err != nil {
		return nil, false, err
	}
	tags[ec2ops.TagName], tags[ec2ops.TagSource], tags[ec2ops.TagSnapshot] = sources, sources, snapshots
	if err := s.checkTags(tags); err != nil {
		return nil, false, err
	}
	placed := false
	for _, spec := range base.Tags {
		if spec.ResourceType != ec2ops.ResourceVolume {
			specs = append(specs, spec)
		} else if !placed {
			specs, placed = append(specs, tagSpec(tags)), true
		}
	}
	if !placed {
		specs = append(specs, tagSpec(tags))
	}
	return specs, !maps.Equal(old, tags), nil
}

func tagSpec(tags map[string]string) ec2ops.TemplateTags {
	spec := ec2ops.TemplateTags{ResourceType: ec2ops.ResourceVolume}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		spec.Tags = append(spec.Tags, ec2ops.TemplateTag{Key: key, Value: tags[key]})
	}
	return spec
}

// lists returns the values of the tags of sources and of snapshots: the source's, and of the others
// what the mapping still names.
func (s seen) lists(base ec2ops.TemplateVersion, mappings []ec2ops.TemplateMapping) (sources, snapshots string, err error) {
	tags, pairs := tagsOfVolumes(base.Tags), pairsOf(base)
	listed := ec2ops.TagValues(tags[ec2ops.TagSource])
	if len(pairs) == 0 && slices.ContainsFunc(listed, func(name string) bool { return name != s.src.Name }) {
		return "", "", config.Usagef("%s: the tags %s (%s) and %s (%s) of volumes in version %d do not list as many sources as snapshots: correct them, or remove both",
			s.template.Name, ec2ops.TagSource, tags[ec2ops.TagSource], ec2ops.TagSnapshot, tags[ec2ops.TagSnapshot], base.Number)
	}
	pairs[s.src.Name] = s.newest.ID
	maps.DeleteFunc(pairs, func(_, snapshot string) bool {
		return !slices.ContainsFunc(mappings, func(m ec2ops.TemplateMapping) bool { return m.Volume != nil && m.Volume.SnapshotID == snapshot })
	})
	names := slices.Sorted(maps.Keys(pairs))
	var ids []string
	for _, name := range names {
		ids = append(ids, pairs[name])
	}
	return ec2ops.JoinTagValues(names), ec2ops.JoinTagValues(ids), nil
}

// checkTags refuses more, or longer, tags than EC2 permits.
func (s seen) checkTags(tags map[string]string) error {
	if len(tags) > tagsMax-tagsLater {
		return config.Usagef("%s: the volumes of a launch would have %d tags, and %d more once snapsource up has taken one over, but EC2 permits %d: remove tags from the template, or from the setting tag",
			s.template.Name, len(tags), tagsLater, tagsMax)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if n := utf8.RuneCountInString(tags[key]); n > tagValueMax {
			return config.Usagef("%s: the tag %s of volumes would have %d characters, but EC2 permits %d: it lists all sources of the template; use a template for fewer of them",
				s.template.Name, key, n, tagValueMax)
		}
	}
	return nil
}

// changedTags says for people how the tags of volumes differ.
func changedTags(before, after []ec2ops.TemplateTags) (changes []string) {
	old, tags := tagsOfVolumes(before), tagsOfVolumes(after)
	all := maps.Clone(old)
	maps.Copy(all, tags)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		was, had := old[key]
		is, has := tags[key]
		switch {
		case !has:
			changes = append(changes, "tag "+key+": removed")
		case !had:
			changes = append(changes, fmt.Sprintf("tag %s: %s", key, is))
		case was != is:
			changes = append(changes, fmt.Sprintf("tag %s: %s, was %s", key, is, cmp.Or(was, "empty")))
		}
	}
	return changes
}

// forLatest ends the description of a version that is not made the default.
const forLatest = " latest"

// describe returns the description of a version of ours.
func describe(source, snapshot string, onLatest bool) string {
	text := strings.Join([]string{"snapsource", source, snapshot}, " ")
	if onLatest {
		text += forLatest
	}
	return text
}

// madeByUs reports whether a version is ours, by its description. One that somebody has copied is
// not: the mapping must name the snapshot.
func madeByUs(v ec2ops.TemplateVersion) bool {
	words := strings.Split(strings.TrimSuffix(v.Description, forLatest), " ")
	return len(words) == 3 && words[0] == "snapsource" && words[1] != "" && strings.HasPrefix(words[2], "snap-") &&
		slices.ContainsFunc(v.Mappings, func(m ec2ops.TemplateMapping) bool { return m.Volume != nil && m.Volume.SnapshotID == words[2] })
}
