package publish

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// seen is what is so.
type seen struct {
	src       config.Source
	snapshots []ec2ops.Snapshot // of the source, eligible or not
	newest    ec2ops.Snapshot
	template  ec2ops.Template
	latest    bool // see Options
}

// plan is what is to be.
type plan struct {
	template ec2ops.Template
	source   string
	base     ec2ops.TemplateVersion
	change   bool // a new version is needed
	onLatest bool
	mappings []ec2ops.TemplateMapping
	tags     []ec2ops.TemplateTags
	snapshot string
	changes  []string
	notes    []string
}

// spec returns the parameters of the new version.
func (p plan) spec(generation int) ec2ops.TemplateSpec {
	return ec2ops.TemplateSpec{
		TemplateID: p.template.ID, Base: p.base.Number, Description: describe(p.source, p.snapshot, p.onLatest),
		Mappings: p.mappings, Tags: p.tags, Generation: generation,
	}
}

// decide compares the default version, or the latest one, with what the settings and the newest
// snapshot ask for. Its errors wrap [failure.ErrUsage].
func decide(s seen) (plan, error) {
	p := plan{template: s.template, source: s.src.Name, base: s.template.Default, onLatest: s.latest, snapshot: s.newest.ID}
	if s.latest {
		p.base = s.template.Latest
	}
	if err := s.checkEncryption(); err != nil {
		return p, err
	}
	if s.src.SizeGiB != 0 && s.src.SizeGiB < s.newest.SizeGiB {
		return p, config.Usagef("size: %d GiB is less than the %d GiB of %s", s.src.SizeGiB, s.newest.SizeGiB, s.newest.ID)
	}
	ofOthers := pairsOf(p.base)
	old := s.isOurs(ofOthers)
	if err := s.checkDevice(p.base, old, ofOthers); err != nil {
		return p, err
	}
	want := s.mapping()
	p.mappings = withMapping(p.base.Mappings, old, want)
	var tagged bool
	var err error
	p.tags, tagged, err = s.volumeTags(p.base, p.mappings)
	if err != nil {
		return p, err
	}
	p.change = tagged || !sameMappings(p.base.Mappings, p.mappings)
	if p.change {
		p.changes = append(changedMappings(p.base.Mappings, old, want), changedTags(p.base.Tags, p.tags)...)
		p.notes = s.notes(p)
	}
	return p, nil
}

// mapping returns the source's entry. It has neither Encrypted nor a key: EC2 refuses Encrypted beside
// a snapshot, and a key without Encrypted; see checkEncryption. (LaunchTemplateEbsBlockDeviceRequest,
// API reference; hashicorp/terraform#5608; keithvassallomt/parsec-aws-automation#12)
func (s seen) mapping() ec2ops.TemplateMapping {
	return ec2ops.TemplateMapping{Device: s.src.Device, Volume: &ec2ops.TemplateVolume{
		SnapshotID: s.newest.ID, SizeGiB: max(s.src.SizeGiB, s.newest.SizeGiB), Type: s.src.VolumeType, IOPS: s.src.IOPS,
		Throughput: s.src.Throughput, InitializationRate: s.src.InitializationRate, DeleteOnTermination: true,
	}}
}

// checkEncryption refuses settings that the volume of a launch can't have: it is encrypted as its
// snapshot is.
func (s seen) checkEncryption() error {
	switch {
	case !s.src.Encrypted:
		return nil
	case !s.newest.Encrypted:
		return config.Usagef("encrypted: %s is not encrypted, and a launch template can't encrypt the volume from it (EC2 permits no such setting beside a snapshot): "+
			"take a snapshot of a volume that snapsource up has created with this setting", s.newest.ID)
	case s.src.KMSKey == "" || isAlias(s.src.KMSKey) || s.newest.KMSKey == "":
		return nil
	case s.newest.KMSKey == s.src.KMSKey || strings.HasSuffix(s.newest.KMSKey, "/"+s.src.KMSKey):
		return nil
	}
	return config.Usagef("kms-key: %s is encrypted with %s, and a launch template can't have the volume encrypted with %s (EC2 permits no key beside a snapshot): "+
		"take a snapshot of a volume that snapsource up has created with this setting", s.newest.ID, s.newest.KMSKey, s.src.KMSKey)
}

// isAlias reports whether a key is named by an alias, which only KMS can resolve.
func isAlias(key string) bool {
	return strings.HasPrefix(key, "alias/") || strings.Contains(key, ":alias/")
}

// isOurs returns whether an entry of the base is the source's: it names one of the source's
// snapshots, or one that the template's tags list for the source.
func (s seen) isOurs(tagged map[string]string) func(ec2ops.TemplateMapping) bool {
	return func(m ec2ops.TemplateMapping) bool {
		if m.Volume == nil || m.Volume.SnapshotID == "" {
			return false
		}
		return tagged[s.src.Name] == m.Volume.SnapshotID ||
			slices.ContainsFunc(s.snapshots, func(snap ec2ops.Snapshot) bool { return snap.ID == m.Volume.SnapshotID })
	}
}

// checkDevice refuses a device name that something else has in the mapping.
func (s seen) checkDevice(base ec2ops.TemplateVersion, ours func(ec2ops.TemplateMapping) bool, tagged map[string]string) error {
	for _, m := range base.Mappings {
		if ours(m) || !ec2ops.SameDevice(m.Device, s.src.Device) {
			continue
		}
		return config.Usagef("%s: the block device mapping of version %d has %s for something else: %s; choose another device with --device, or take that entry out of the template",
			s.template.Name, base.Number, m.Device, whatIs(m, tagged))
	}
	return nil
}

// whatIs describes an entry that is not the source's.
func whatIs(m ec2ops.TemplateMapping, tagged map[string]string) string {
	switch {
	case m.NoDevice:
		return "it leaves the image's device of this name out"
	case m.VirtualName != "":
		return "the instance store volume " + m.VirtualName
	case m.Volume == nil || m.Volume.SnapshotID == "" && m.Volume.SizeGiB == 0:
		return "a volume of the image"
	case m.Volume.SnapshotID == "":
		return fmt.Sprintf("a blank volume of %d GiB", m.Volume.SizeGiB)
	}
	for source, snapshot := range tagged {
		if snapshot == m.Volume.SnapshotID {
			return "the source " + source + ", from " + snapshot
		}
	}
	return "a volume from " + m.Volume.SnapshotID
}

// withMapping returns the entries with the source's in the place of its first old one, else at the
// end.
func withMapping(base []ec2ops.TemplateMapping, old func(ec2ops.TemplateMapping) bool, want ec2ops.TemplateMapping) []ec2ops.TemplateMapping {
	var all []ec2ops.TemplateMapping
	placed := false
	for _, m := range base {
		switch {
		case !old(m):
			all = append(all, m)
		case placed:
		case sameMapping(m, want):
			all, placed = append(all, m), true
		default:
			all, placed = append(all, want), true
		}
	}
	if !placed {
		all = append(all, want)
	}
	return all
}

// sameMapping compares what the settings say of an entry.
func sameMapping(a, b ec2ops.TemplateMapping) bool {
	return a.Device == b.Device && a.VirtualName == b.VirtualName && a.NoDevice == b.NoDevice &&
		(a.Volume == nil) == (b.Volume == nil) && (a.Volume == nil || *a.Volume == *b.Volume)
}

func sameMappings(a, b []ec2ops.TemplateMapping) bool { return slices.EqualFunc(a, b, sameMapping) }

// changedMappings says for people what becomes of the source's entry.
func changedMappings(base []ec2ops.TemplateMapping, old func(ec2ops.TemplateMapping) bool, want ec2ops.TemplateMapping) (changes []string) {
	for _, m := range base {
		if old(m) && !sameMapping(m, want) {
			changes = append(changes, m.Device+": no longer "+volumeText(m.Volume))
		}
	}
	if !slices.ContainsFunc(base, func(m ec2ops.TemplateMapping) bool { return old(m) && sameMapping(m, want) }) {
		changes = append(changes, want.Device+": "+volumeText(want.Volume))
	}
	return changes
}

func volumeText(v *ec2ops.TemplateVolume) string {
	text := v.SnapshotID
	if v.SizeGiB != 0 {
		text += fmt.Sprintf(", %d GiB", v.SizeGiB)
	}
	if v.Type != "" {
		text += ", " + v.Type
	}
	for _, n := range []struct {
		number int32
		unit   string
	}{{v.IOPS, " IOPS"}, {v.Throughput, " MiB/s"}, {v.InitializationRate, " MiB/s initialization"}} {
		if n.number != 0 {
			text += fmt.Sprintf(", %d%s", n.number, n.unit)
		}
	}
	if !v.DeleteOnTermination {
		text += ", kept on termination"
	}
	return text
}

// notes says what a new version means for those that do not follow the base.
func (s seen) notes(p plan) []string {
	notes := []string{}
	defaultVersion, latest := s.template.Default, s.template.Latest
	if latest.Number != defaultVersion.Number && !madeByUs(latest) {
		if s.latest {
			notes = append(notes, fmt.Sprintf("the new version is made from version %d, the latest; the default version is %d", latest.Number, defaultVersion.Number))
		} else {
			notes = append(notes, fmt.Sprintf("the new version is made from version %d, the default; version %d is newer, and what it changed is not in it: groups with $Latest lose that", defaultVersion.Number, latest.Number))
		}
	}
	if s.src.Encrypted && isAlias(s.src.KMSKey) {
		notes = append(notes, fmt.Sprintf("the volumes have the key of %s, %s; whether that is %s is not known", p.snapshot, cmp.Or(s.newest.KMSKey, "which EC2 does not name"), s.src.KMSKey))
	}
	return notes
}

// overtaken reports whether the template has changed since the plan's base was read, so that the
// new version v lacks something, and by which version. Of publications at the same time the one with
// the lowest version number goes on; EC2 gives the numbers.
func (p plan) overtaken(versions []ec2ops.TemplateVersion, v ec2ops.TemplateVersion) (by ec2ops.TemplateVersion, is bool) {
	for _, other := range versions {
		between := other.Number > p.base.Number && other.Number < v.Number
		switch {
		case p.onLatest && between:
			return other, true
		case p.onLatest:
		case other.Default && other.Number != p.base.Number && other.Number != v.Number:
			return other, true
		case between && isForDefault(other) && v.Created.Sub(other.Created) < inFlight:
			return other, true
		}
	}
	return by, false
}

// isForDefault reports whether a version was made by a publication that makes it the default.
func isForDefault(v ec2ops.TemplateVersion) bool {
	return madeByUs(v) && !strings.HasSuffix(v.Description, forLatest)
}
