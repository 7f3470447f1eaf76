package publish

import (
	"fmt"
	"slices"
)

// Pinned is a use of a template that does not follow: an Auto Scaling group with a version number.
type Pinned struct {
	Group   string `json:"group"`
	Version string `json:"template_version"`
}

// Published is the outcome of [Publish] for one template.
type Published struct {
	ID       string   `json:"template"`
	Name     string   `json:"name"`
	Snapshot string   `json:"snapshot"`
	Base     int64    `json:"base,omitempty"`             // the version that the new one was made from
	Version  int64    `json:"template_version,omitempty"` // that names the snapshot; 0 in a dry run that would make one
	Default  bool     `json:"default"`                    // it is the default version
	Changed  bool     `json:"changed"`                    // something is, or in a dry run would be, changed
	Changes  []string `json:"changes"`                    // for people: what differs from the base
	Deleted  []int64  `json:"deleted"`                    // versions that are, or in a dry run would be, deleted
	Pinned   []Pinned `json:"pinned"`
	Notes    []string `json:"notes"`
}

// String says what is so, or what a dry run would do.
func (p Published) String() string {
	switch {
	case p.Changed && p.Version == 0:
		return fmt.Sprintf("%s: a new version, made from version %d, would name %s", p.Name, p.Base, p.Snapshot)
	case p.Base == 0 && p.Default:
		return fmt.Sprintf("%s: version %d, the default, names %s already", p.Name, p.Version, p.Snapshot)
	case p.Base == 0:
		return fmt.Sprintf("%s: version %d, which is not the default, names %s already", p.Name, p.Version, p.Snapshot)
	case p.Default:
		return fmt.Sprintf("%s: version %d, made from version %d, names %s and is the default", p.Name, p.Version, p.Base, p.Snapshot)
	}
	return fmt.Sprintf("%s: version %d, made from version %d, names %s and is not the default", p.Name, p.Version, p.Base, p.Snapshot)
}

// Remarks are the notes, and the groups that do not follow.
func (p Published) Remarks() []string {
	remarks := slices.Clone(p.Notes)
	for _, use := range p.Pinned {
		remarks = append(remarks, fmt.Sprintf("the Auto Scaling group %s uses version %s of %s, by its number: it does not follow until it uses $Default", use.Group, use.Version, p.Name))
	}
	return remarks
}
