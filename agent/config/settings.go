package config

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Setting is one setting: a flag, an environment variable and a key of the file, all of the same
// name.
type Setting struct {
	Name       string // "volume-type"
	Value      string // its value in the help text: "GIB"; "" for a switch
	Doc        string // one line
	Repeatable bool
	FileKey    string   // in the file; differs from Name for what is a list there
	OfSource   bool     // belongs to one source, not to the run
	Choices    []string // the values that it accepts, if there are few

	set func(*Config, *Source, []string) error
}

// Env returns the setting's environment variable: SNAPSOURCE_VOLUME_TYPE. In it the items of a
// repeatable setting are separated by commas.
func (s Setting) Env() string {
	return "SNAPSOURCE_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Settings lists all settings in the order in which the help text shows them.
func Settings() []Setting {
	return []Setting{
		ofSource("source", "NAME", "snapshots with the tag Name=NAME are its releases (default codepen-app)",
			func(s *Source, v string) error { s.Name = v; return nil }),
		ofSource("device", "DEVICE", "EC2's device name; another one if it is taken (default /dev/sdf)",
			func(s *Source, v string) error { s.Device = v; return nil }),
		ofSource("mount", "DIR", "where the file system is mounted (default /cp)",
			func(s *Source, v string) error { s.Mount = v; return nil }),
		listOfSource("bind", "binds", "DIR:TARGET", "bind-mount DIR of the file system to TARGET; repeatable (default codepen:/home/deploy/codepen)",
			func(s *Source, vs []string) error { return setBinds(s, vs) }),
		ofSource("size", "GIB", "volume size in GiB, at least the snapshot's (default the snapshot's; 5 for a first volume)",
			func(s *Source, v string) error { return setNumber(&s.SizeGiB, v) }),
		ofSource("volume-type", "TYPE", "EBS volume type (default gp3)",
			func(s *Source, v string) error { s.VolumeType = v; return nil }).oneOf(volumeTypes...),
		ofSource("iops", "N", "provisioned IOPS (default the volume type's)",
			func(s *Source, v string) error { return setNumber(&s.IOPS, v) }),
		ofSource("throughput", "MIB", "gp3 throughput in MiB/s (default 125)",
			func(s *Source, v string) error { return setNumber(&s.Throughput, v) }),
		ofSource("encrypted", "", "encrypt the volume (one from an encrypted snapshot always is)",
			func(s *Source, v string) error { return setBool(&s.Encrypted, v) }),
		ofSource("kms-key", "KEY", "KMS key id, alias or ARN for --encrypted (default the account's)",
			func(s *Source, v string) error { s.KMSKey = v; return nil }),
		ofSource("initialization-rate", "MIB", "have EC2 load the snapshot's blocks at 100 to 300 MiB/s (billed; default EC2's own pace)",
			func(s *Source, v string) error { return setNumber(&s.InitializationRate, v) }),
		listOfSource("tag", "tags", "KEY=VALUE", "one more tag for the volume; repeatable",
			func(s *Source, vs []string) error { return setTags(s, vs) }),
		listOfSource("mount-option", "mount-options", "OPTION", "mount option; repeatable, replaces the default noatime, nosuid, nodev",
			func(s *Source, vs []string) error { s.MountOptions = vs; return nil }),
		listOfRun("role", "roles", "ROLE", "put this role on the instance once its sources are mounted; repeatable",
			func(c *Config, vs []string) error { c.Roles.Roles = vs; return nil }),
		listOfRun("stage", "stages", "STAGE", "and this stage; repeatable",
			func(c *Config, vs []string) error { c.Roles.Stages = vs; return nil }),
		ofRun("project", "NAME", "and this project",
			func(c *Config, v string) error { c.Roles.Project = v; return nil }),
		ofRun("roles-tag", "KEY", "tag that holds the roles (default Roles)",
			func(c *Config, v string) error { c.Roles.RolesTag = v; return nil }),
		ofRun("stages-tag", "KEY", "tag that holds the stages (default Stages)",
			func(c *Config, v string) error { c.Roles.StagesTag = v; return nil }),
		ofRun("project-tag", "KEY", "tag that holds the project (default Project)",
			func(c *Config, v string) error { c.Roles.ProjectTag = v; return nil }),
		ofRun("if-none", "fail|blank", "without an eligible snapshot: fail, or begin with a blank volume (default fail)",
			func(c *Config, v string) error { c.IfNone = v; return nil }).oneOf(IfNoneFail, IfNoneBlank),
		ofRun("stale", "POLICY", "a newer snapshot appears while we boot: ignore, warn, wait (start over on it) or fail (default warn)",
			func(c *Config, v string) error { c.Stale = v; return nil }).oneOf(StaleIgnore, StaleWarn, StaleWait, StaleFail),
		ofRun("lifecycle-hook", "NAME", "launch hook of the Auto Scaling group: continued once all is mounted, abandoned if that fails for good",
			func(c *Config, v string) error { c.LifecycleHook = v; return nil }),
		ofRun("warm", "WHAT", "what to read in the background after a launch, so that it is loaded from S3: none, hot (the recorded hot set) or all (what else is in use, too) (default hot)",
			func(c *Config, v string) error { c.Warm = v; return nil }).oneOf(WarmNone, WarmHot, WarmAll),
		ofRun("warm-before-service", "", "the launch hook waits until the hot set is read",
			func(c *Config, v string) error { return setBool(&c.WarmBeforeService, v) }),
		ofRun("timeout", "DURATION", "give up after this long (default 10m)",
			func(c *Config, v string) error { return setDuration(&c.Timeout, v) }),
		ofRun("output", "text|json", "a table for people, or one JSON document on stdout and JSON logs on stderr (default text)",
			func(c *Config, v string) error { c.Output = v; return nil }).oneOf(OutputText, OutputJSON),
		ofRun("metrics", "FILE", "write metrics of the run for Prometheus' node_exporter; the file's name ends in .prom",
			func(c *Config, v string) error { c.Metrics = v; return nil }),
	}
}

func ofSource(name, value, doc string, set func(*Source, string) error) Setting {
	return Setting{Name: name, FileKey: name, Value: value, Doc: doc, OfSource: true,
		set: func(_ *Config, s *Source, vs []string) error { return set(s, vs[len(vs)-1]) }}
}

func listOfSource(name, fileKey, value, doc string, set func(*Source, []string) error) Setting {
	return Setting{Name: name, FileKey: fileKey, Value: value, Doc: doc, OfSource: true, Repeatable: true,
		set: func(_ *Config, s *Source, vs []string) error { return set(s, vs) }}
}

func listOfRun(name, fileKey, value, doc string, set func(*Config, []string) error) Setting {
	return Setting{Name: name, FileKey: fileKey, Value: value, Doc: doc, Repeatable: true,
		set: func(c *Config, _ *Source, vs []string) error { return set(c, vs) }}
}

func ofRun(name, value, doc string, set func(*Config, string) error) Setting {
	return Setting{Name: name, FileKey: name, Value: value, Doc: doc,
		set: func(c *Config, _ *Source, vs []string) error { return set(c, vs[len(vs)-1]) }}
}

func (s Setting) oneOf(values ...string) Setting {
	s.Choices = values
	return s
}

// Load builds the configuration: defaults, overridden by the file, by the
// SNAPSOURCE_* environment, by flags (values by setting name). An empty file name
// means [DefaultConfigFile] where it exists. The result is valid.
func Load(file string, environ []string, flags map[string][]string) (Config, error) {
	c := DefaultConfig()
	read, text, err := loadFile(&c, file)
	if err != nil {
		return Config{}, err
	}
	env, err := fromEnviron(environ)
	if err != nil {
		return Config{}, err
	}
	if name := lastOf(flags["source"], env["source"]); name != "" && len(c.Sources) > 1 {
		if err := c.selectSource(name); err != nil {
			return Config{}, err
		}
	}
	if err := c.override(env, flags); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, ofFile(read, text, err, env, flags)
	}
	return c, nil
}

// LoadRun returns the configuration with the run's settings of the file and the environment, like
// [Load]. Settings of sources do not matter. Only the roles' settings are checked.
func LoadRun(file string, environ []string) (Config, error) {
	c := DefaultConfig()
	read, text, err := loadFile(&c, file)
	if err != nil {
		return Config{}, err
	}
	env, err := fromEnviron(environ)
	if err != nil {
		return Config{}, err
	}
	for _, s := range Settings() {
		if vs := env[s.Name]; !s.OfSource && len(vs) > 0 {
			if err := s.set(&c, nil, vs); err != nil {
				return Config{}, fmt.Errorf("%s: %w", s.Env(), err)
			}
		}
	}
	if err := c.Roles.validate(); err != nil && read != "" {
		return Config{}, fmt.Errorf("%s: %w", read, redact(err, scalarsOf(text)))
	} else if err != nil {
		return Config{}, err
	}
	return c, nil
}

// override applies the environment and then the flags to c.
func (c *Config) override(env, flags map[string][]string) error {
	if err := c.apply(env, Setting.Env); err != nil {
		return err
	}
	return c.apply(flags, func(s Setting) string { return "--" + s.Name })
}

// ofFile returns the error of an invalid configuration. If the file causes it, the text that it
// quotes may be from the file, and is redacted; see [loadFile].
func ofFile(read string, text []byte, err error, env, flags map[string][]string) error {
	without := DefaultConfig()
	if read == "" || without.override(env, flags) == nil && fmt.Sprint(without.Validate()) == err.Error() {
		return err
	}
	return fmt.Errorf("%s: %w", read, redact(byLine(err, text), scalarsOf(text)))
}

// apply applies the values of one layer to c.
func (c *Config) apply(values map[string][]string, name func(Setting) string) error {
	for _, s := range Settings() {
		vs, quotedText := values[s.Name]
		if !quotedText || len(vs) == 0 {
			continue
		}
		if s.OfSource && len(c.Sources) > 1 {
			return Usagef("%s: the file lists %d sources; say which one with --source", name(s), len(c.Sources))
		}
		if err := s.set(c, &c.Sources[0], vs); err != nil {
			return fmt.Errorf("%s: %w", name(s), err)
		}
	}
	return nil
}

// selectSource selects the source of that name.
func (c *Config) selectSource(name string) error {
	for _, s := range c.Sources {
		if s.Name == name {
			c.All, c.Sources = c.Sources, []Source{s}
			return nil
		}
	}
	return Usagef("source %q is none of those in the file", name)
}

// fromEnviron parses the SNAPSOURCE_* variables. An unknown one is an error, like an unknown key
// in the file: otherwise it would be silently ignored.
func fromEnviron(environ []string) (map[string][]string, error) {
	known := map[string]Setting{}
	for _, s := range Settings() {
		known[s.Env()] = s
	}
	values := map[string][]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(k, "SNAPSOURCE_") || k == EnvConfigFile || v == "" {
			continue
		}
		s, ok := known[k]
		if !ok {
			return nil, Usagef("environment variable %s: there is no such setting%s", k, DidYouMean(k, environNames()))
		}
		if s.Repeatable {
			values[s.Name] = strings.Split(v, ",")
		} else {
			values[s.Name] = []string{v}
		}
	}
	return values, nil
}

// EnvConfigFile names the configuration file, as --config does.
const EnvConfigFile = "SNAPSOURCE_CONFIG"

// File returns the file's name: from the flag, else the environment, else "".
func File(flag string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv(EnvConfigFile)
}

func lastOf(lists ...[]string) string {
	for _, l := range lists {
		if len(l) > 0 {
			return l[len(l)-1]
		}
	}
	return ""
}

func setNumber(to *int32, v string) error {
	n, err := strconv.ParseInt(v, 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return Usagef("%q is out of range", v)
	}
	if err != nil {
		return Usagef("%q is not a whole number", v)
	}
	if n < 1 {
		return Usagef("%d is less than 1", n)
	}
	*to = int32(n)
	return nil
}

func setBool(to *bool, v string) error {
	switch v {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return Usagef("%q is neither true nor false", v)
	}
	return nil
}

func setDuration(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil {
		return Usagef("%q is not a duration such as 90s or 10m", v)
	}
	*to = d
	return nil
}

func setBinds(s *Source, vs []string) error {
	s.Binds = nil
	for _, v := range vs {
		dir, target, ok := strings.Cut(v, ":")
		if !ok {
			return Usagef("%q is not DIR:TARGET", v)
		}
		s.Binds = append(s.Binds, Bind{Dir: dir, Target: target})
	}
	return nil
}

func setTags(s *Source, vs []string) error {
	s.Tags = map[string]string{}
	for _, v := range vs {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return Usagef("%q is not KEY=VALUE", v)
		}
		if _, twice := s.Tags[key]; twice {
			return Usagef("tag %q is given twice", key)
		}
		s.Tags[key] = value
	}
	return nil
}
