package config

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Config is the configuration of an instance.
type Config struct {
	Sources []Source
	All     []Source // all sources of the instance, if Sources is one selected by name
	Roles   Roles
	IfNone  string        // what to do without an eligible snapshot: IfNoneFail or IfNoneBlank
	Stale   string        // what a launch does when a newer snapshot appears: StaleWarn, …
	Timeout time.Duration // for the whole run
	Output  string        // OutputText or OutputJSON
	Metrics string        // file for Prometheus; "" for none

	LifecycleHook string // of the instance's Auto Scaling group; "" for none

	Warm              string // what is read of the volume after a launch: WarmNone, …
	WarmBeforeService bool   // the launch hook waits until the hot set is read
}

// Roles are the roles by which deployments find the instance, and the keys of their tags. The
// instance is tagged once all its sources are mounted.
type Roles struct {
	Roles   []string // "app", "web"
	Stages  []string // "production"
	Project string
	// The keys of the tags; Roles and Stages hold lists separated by commas.
	RolesTag, StagesTag, ProjectTag string
}

// Values of Config.IfNone and Config.Output.
const (
	IfNoneFail  = "fail"
	IfNoneBlank = "blank"
	OutputText  = "text"
	OutputJSON  = "json"
)

// Values of Config.Stale: what a superseded launch does. A launch is superseded if a newer
// snapshot has appeared, or if its own is rejected or deleted.
const (
	StaleIgnore = "ignore" // does not check
	StaleWarn   = "warn"   // prints a note
	StaleWait   = "wait"   // starts over on the newest one
	StaleFail   = "fail"   // deletes its volume and fails; the next run takes the newest one
)

// Values of Config.Warm: what is read of a volume after a launch, so that EBS has loaded it before
// the application asks for it.
const (
	WarmNone = "none"
	WarmHot  = "hot" // the hot set
	WarmAll  = "all" // all that the file system uses, the hot set first
)

// DefaultConfigFile is read by default; it need not exist.
const DefaultConfigFile = "/etc/snapsource.yaml"

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

// DefaultConfig is the setup of CodePen's article of 2013.
func DefaultConfig() Config {
	return Config{
		Sources: []Source{DefaultSource()},
		Roles:   Roles{RolesTag: "Roles", StagesTag: "Stages", ProjectTag: "Project"},
		IfNone:  IfNoneFail,
		Stale:   StaleWarn,
		Timeout: 10 * time.Minute,
		Output:  OutputText,
		Warm:    WarmHot,
	}
}

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

// Validate returns the first error in the configuration. It wraps [failure.ErrUsage] and names
// source and key.
func (c Config) Validate() error {
	if len(c.Sources) == 0 {
		return Usagef("sources: the list is empty")
	}
	if c.Timeout <= 0 {
		return Usagef("timeout: %s is not a positive duration", c.Timeout)
	}
	if c.IfNone != IfNoneFail && c.IfNone != IfNoneBlank {
		return Usagef("if-none: %q is neither fail nor blank", c.IfNone)
	}
	if !slices.Contains([]string{StaleIgnore, StaleWarn, StaleWait, StaleFail}, c.Stale) {
		return Usagef("stale: %q is none of ignore, warn, wait, fail", c.Stale)
	}
	if c.Warm != WarmNone && c.Warm != WarmHot && c.Warm != WarmAll {
		return Usagef("warm: %q is none of none, hot, all", c.Warm)
	}
	switch {
	case !c.WarmBeforeService:
	case c.Warm == WarmNone:
		return Usagef("warm-before-service: with warm none nothing is read")
	case c.LifecycleHook == "":
		return Usagef("warm-before-service: needs lifecycle-hook, which is what waits")
	}
	if c.Output != OutputText && c.Output != OutputJSON {
		return Usagef("output: %q is neither text nor json", c.Output)
	}
	if c.Metrics != "" {
		if err := CheckMetrics(c.Metrics); err != nil {
			return err
		}
	}
	if c.LifecycleHook != "" && (len(c.LifecycleHook) > hookNameMax || !hookNames.MatchString(c.LifecycleHook)) {
		return Usagef("lifecycle-hook: %q is not a valid name of a lifecycle hook", c.LifecycleHook)
	}
	if err := c.Roles.validate(); err != nil {
		return err
	}
	for _, s := range c.Sources {
		if err := s.validate(); err != nil {
			return fmt.Errorf("source %q: %w", s.Name, err)
		}
	}
	return checkDistinct(c.instanceSources())
}

// CheckMetrics refuses a file for metrics that node_exporter would not read: it reads those
// that end in .prom, and the directory of a run is not always the same. The error wraps
// [failure.ErrUsage].
func CheckMetrics(file string) error {
	if !cleanAbsolute(file) || path.Ext(file) != ".prom" {
		return Usagef("metrics: %q is not an absolute path of a file that ends in .prom", file)
	}
	return nil
}

// instanceSources returns every source of the instance; those in Sources with their overrides.
func (c Config) instanceSources() []Source {
	all := slices.Clone(c.EverySource())
	for i, s := range all {
		for _, picked := range c.Sources {
			if picked.Name == s.Name {
				all[i] = picked
			}
		}
	}
	return all
}

// checkDistinct refuses sources with the same name, device or mountpoint, or with a mountpoint
// below another source's: its directory would be created on that volume, and be part of its
// snapshots.
func checkDistinct(sources []Source) error {
	type claim struct{ key, value string }
	owner := map[claim]string{}
	type place struct{ source, path string }
	var places []place
	for _, s := range sources {
		for _, c := range []claim{{"source", s.Name}, {"device", s.Device}} {
			if first, taken := owner[c]; taken {
				return Usagef("sources %q and %q have the same %s %s", first, s.Name, c.key, c.value)
			}
			owner[c] = s.Name
		}
		places = append(places, place{s.Name, s.Mount})
		for _, b := range s.Binds {
			places = append(places, place{s.Name, b.Target})
		}
	}
	for i, p := range places {
		for _, other := range places[:i] {
			switch {
			case p.path == other.path:
				return Usagef("sources %q and %q have the same path %s", other.source, p.source, p.path)
			case isBelow(p.path, other.path):
				return Usagef("source %q: %s lies below %s of source %q", p.source, p.path, other.path, other.source)
			case isBelow(other.path, p.path):
				return Usagef("source %q: %s lies below %s of source %q", other.source, other.path, p.path, p.source)
			}
		}
	}
	return nil
}

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

func cleanAbsolute(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && p != "/" && validPath(p)
}

// The kernel's limits for a path and for a name in it, NAME_MAX and PATH_MAX.
const (
	nameMax = 255
	pathMax = 4096
)

// validPath reports whether a path is within the kernel's limits, and printable.
func validPath(p string) bool {
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > nameMax {
			return false
		}
	}
	return len(p) < pathMax && printable(p)
}

// printable reports whether text has no control characters and is valid UTF-8.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// isBelow reports whether path p is dir itself or below it.
func isBelow(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// hookNames matches the names that Auto Scaling accepts, up to hookNameMax bytes.
// (PutLifecycleHook, API reference)
var hookNames = regexp.MustCompile(`^[A-Za-z0-9/_-]+$`)

const hookNameMax = 255

// EverySource returns every source of the instance.
func (c Config) EverySource() []Source {
	if len(c.All) > 0 {
		return c.All
	}
	return c.Sources
}
