package config

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Source is one directory tree from snapshots, and where it is mounted.
type Source struct {
	Name               string // the Name tag of its snapshots
	Device             string // EC2's device name: "/dev/sdf"
	Mount              string // where the file system is mounted
	Binds              []Bind
	SizeGiB            int32 // 0: the snapshot's size, or DefaultSizeGiB for a blank volume
	VolumeType         string
	IOPS               int32 // 0: the volume type's default
	Throughput         int32 // MiB/s, gp3 only; 0: the default
	Encrypted          bool
	KMSKey             string
	InitializationRate int32 // MiB/s; 0: EC2's own pace
	Tags               map[string]string
	MountOptions       []string
}

// Bind makes a directory of the mounted file system visible elsewhere.
type Bind struct {
	Dir    string // relative to the mountpoint: "codepen"
	Target string // absolute: "/home/deploy/codepen"
}

// String returns the bind as it is configured: "codepen:/home/deploy/codepen".
func (b Bind) String() string { return b.Dir + ":" + b.Target }

// DefaultSizeGiB is the size of the first, blank volume.
const DefaultSizeGiB = 5

// DefaultSource is the one source of [DefaultConfig].
func DefaultSource() Source {
	return Source{
		Name:         "codepen-app",
		Device:       "/dev/sdf",
		Mount:        "/cp",
		Binds:        []Bind{{Dir: "codepen", Target: "/home/deploy/codepen"}},
		VolumeType:   "gp3",
		MountOptions: []string{"noatime", "nosuid", "nodev"},
	}
}

// VolumeTags are the tags that a source's volume gets when it is created.
func (s Source) VolumeTags(instanceID, snapshotID string) map[string]string {
	if snapshotID == "" {
		snapshotID = "none"
	}
	tags := maps.Clone(s.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	tags[ec2ops.TagName] = s.Name
	tags[ec2ops.TagSource] = s.Name
	tags[ec2ops.TagInstance] = instanceID
	tags[ec2ops.TagSnapshot] = snapshotID
	return tags
}

// sourceName excludes the wildcards of EC2's filters (* ? \), and what can't be in a label or a
// log line.
var sourceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+=:@/-]*$`)

// sourceNameMax is the longest source name, in bytes. The patterns contain no limits: a counted
// repeat is unrolled when the pattern is compiled, at every start of the program.
const sourceNameMax = 127

// volumeTypes are EC2's names. (CreateVolume, API reference)
var volumeTypes = []string{"gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"}

func (s Source) validate() error {
	switch {
	case len(s.Name) > sourceNameMax || !sourceName.MatchString(s.Name) || strings.HasPrefix(strings.ToLower(s.Name), "aws:"):
		return Usagef("source: the name must be 1 to 127 of the characters A-Z a-z 0-9 . _ + = : @ / -, begin with a letter or digit, and not with aws:")
	case !ec2ops.ValidDeviceName(s.Device):
		return Usagef("device: EC2 does not accept %q; use /dev/sdf to /dev/sdp", s.Device)
	case !cleanAbsolute(s.Mount):
		return Usagef("mount: %q is not an absolute path without .. or a trailing slash", s.Mount)
	}
	if err := s.validateVolume(); err != nil {
		return err
	}
	for _, b := range s.Binds {
		if err := b.validate(s.Mount); err != nil {
			return err
		}
	}
	if len(s.Tags) > tagsMax {
		return Usagef("tag: %d tags, but a volume has at most %d besides those of snapsource", len(s.Tags), tagsMax)
	}
	for k, v := range s.Tags {
		if err := ValidateTag(k, v); err != nil {
			return err
		}
	}
	if err := mountfs.CheckOptions(s.MountOptions); err != nil {
		return Usagef("mount-option: %v", err)
	}
	return nil
}

// validateVolume checks against the ranges of the API reference (CreateVolume).
func (s Source) validateVolume() error {
	switch {
	case s.SizeGiB < 0 || s.SizeGiB > 65536:
		return Usagef("size: %d GiB is not between 1 and 65536", s.SizeGiB)
	case !slices.Contains(volumeTypes, s.VolumeType):
		return Usagef("volume-type: %q is none of %s", s.VolumeType, strings.Join(volumeTypes, ", "))
	case s.IOPS != 0 && !slices.Contains([]string{"gp3", "io1", "io2"}, s.VolumeType):
		return Usagef("iops: a %s volume has no such setting", s.VolumeType)
	case s.VolumeType == "gp3" && s.IOPS != 0 && (s.IOPS < 3000 || s.IOPS > 80000):
		return Usagef("iops: %d is not between 3000 and 80000", s.IOPS)
	case s.IOPS < 0:
		return Usagef("iops: %d is negative", s.IOPS)
	case s.Throughput != 0 && s.VolumeType != "gp3":
		return Usagef("throughput: a %s volume has no such setting", s.VolumeType)
	case s.Throughput != 0 && (s.Throughput < 125 || s.Throughput > 2000):
		return Usagef("throughput: %d MiB/s is not between 125 and 2000", s.Throughput)
	case s.KMSKey != "" && !s.Encrypted:
		return Usagef("kms-key: needs encrypted as well")
	case s.InitializationRate != 0 && (s.InitializationRate < 100 || s.InitializationRate > 300):
		return Usagef("initialization-rate: %d MiB/s is not between 100 and 300", s.InitializationRate)
	}
	return nil
}

func (b Bind) validate(mount string) error {
	switch {
	case !validPath(b.Dir) || b.Dir == "" || path.IsAbs(b.Dir) || path.Clean(b.Dir) != b.Dir || b.Dir == ".." || strings.HasPrefix(b.Dir, "../"):
		return Usagef("bind: %q is not a directory below the mountpoint", b.Dir)
	case !cleanAbsolute(b.Target):
		return Usagef("bind: the target %q is not an absolute path without .. or a trailing slash", b.Target)
	case isBelow(b.Target, mount):
		return Usagef("bind: the target %s lies inside the mountpoint %s", b.Target, mount)
	case isBelow(mount, b.Target):
		return Usagef("bind: the target %s would hide the mountpoint %s", b.Target, mount)
	}
	return nil
}
