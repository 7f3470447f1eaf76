package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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

// IsAccount reports whether a text is the number of an AWS account.
func IsAccount(text string) bool { return len(text) == 12 && strings.Trim(text, "0123456789") == "" }
