package permissions

import (
	"slices"

	"snapsource/agent/config"
)

// Settings are what a policy depends on.
type Settings struct {
	Region    string   // of the partition; "": any that is in aws
	Sources   []string // names
	TagKeys   []string // of the tags that a volume gets besides snapsource's own
	Roles     []string // keys of the tags for roles, stages and project; none: the instance is not tagged
	Hook      bool     // the instance completes a launch hook
	Groups    []string // the Auto Scaling groups of the hook; none: any
	Encrypted bool     // volumes with a KMS key
	Keys      []string // the KMS keys: ARNs, ids or aliases; none: any
	Owners    []string // numbers of other accounts that share snapshots, which are copied
	Templates []string // ids of the launch templates that name the snapshots; none: any, and no volume comes with a launch
}

// Of returns the settings of a configuration.
func Of(c config.Config) Settings {
	s := Settings{Hook: c.LifecycleHook != ""}
	if !c.Roles.None() {
		s.Roles = []string{c.Roles.RolesTag, c.Roles.StagesTag, c.Roles.ProjectTag}
	}
	for _, src := range c.Sources {
		s.Sources = append(s.Sources, src.Name)
		for key := range src.Tags {
			s.TagKeys = append(s.TagKeys, key)
		}
		s.Encrypted = s.Encrypted || src.Encrypted
		if src.KMSKey != "" && !slices.Contains(s.Keys, src.KMSKey) {
			s.Keys = append(s.Keys, src.KMSKey)
		}
	}
	slices.Sort(s.TagKeys)
	s.TagKeys = slices.Compact(s.TagKeys)
	return s
}

func (s Settings) partition() config.Partition { return config.PartitionOf(s.Region) }

// AddCopyKeys adds KMS keys that encrypt copies. If the volumes have any key, so do the copies.
func (s *Settings) AddCopyKeys(keys []string) {
	if len(keys) == 0 || s.Encrypted && len(s.Keys) == 0 {
		return
	}
	s.Encrypted, s.Keys = true, append(s.Keys, keys...)
}
