package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snapsource/agent/config"
)

// settings are the flags of a command that works on sources.
type settings struct {
	program *program
	file    string
	quiet   bool
	values  map[string][]string

	offersID bool // --output id is possible
	onlyID   bool // and given
}

// addSettings adds a flag for each of the agent's settings to a command. The help lists those
// that matter to it. The others are accepted too, so that scripts can give all commands the
// same flags; none is listed as all.
func (p *program) addSettings(c *cobra.Command, listed ...string) *settings {
	s := p.newSettings(c)
	for _, setting := range config.Settings() {
		s.add(c, setting).Hidden = len(listed) > 0 && !slices.Contains(listed, setting.Name)
	}
	s.addFile(c)
	return s
}

// addOnly adds a flag for each of these settings of the agent to a command.
func (p *program) addOnly(c *cobra.Command, names ...string) *settings {
	s := p.newSettings(c)
	for _, setting := range config.Settings() {
		if slices.Contains(names, setting.Name) {
			s.add(c, setting)
		}
	}
	s.addFile(c)
	return s
}

func (p *program) newSettings(c *cobra.Command) *settings {
	c.Flags().SortFlags = false
	return &settings{program: p, values: map[string][]string{}}
}

func (s *settings) add(c *cobra.Command, setting config.Setting) *pflag.Flag {
	f := c.Flags().VarPF(&flagValue{s, setting}, setting.Name, "", setting.Doc)
	if setting.Value == "" {
		f.NoOptDefVal = "true"
	}
	switch {
	case setting.Name == "output":
		complete(c, setting.Name, func() []string {
			if s.offersID {
				return append(setting.Choices, outputID)
			}
			return setting.Choices
		})
	case len(setting.Choices) > 0:
		complete(c, setting.Name, func() []string { return setting.Choices })
	case setting.Value == "FILE":
		_ = c.MarkFlagFilename(setting.Name, "prom") // the flag exists
	case setting.Value == "DIR":
		_ = c.MarkFlagDirname(setting.Name) // the flag exists
	}
	return f
}

func (s *settings) addFile(c *cobra.Command) {
	configFlag(c, &s.file)
}

// configFlag adds --config.
func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "config", "", "YAML file with the same settings (default "+config.DefaultConfigFile+")")
	nameValues(c, "config", "FILE")
	_ = c.MarkFlagFilename("config", "yaml", "yml") // the flag exists
}

// addQuiet adds --quiet.
func (s *settings) addQuiet(c *cobra.Command) {
	c.Flags().BoolVarP(&s.quiet, "quiet", "q", false, "print errors only")
}

// load combines flags, environment and file.
func (s *settings) load() (config.Config, error) {
	if given := s.values["output"]; s.offersID && len(given) > 0 && !slices.Contains([]string{config.OutputText, config.OutputJSON}, given[len(given)-1]) {
		return config.Config{}, config.Usagef("--output: %q is none of text, json, id", given[len(given)-1])
	}
	s.program.watch.allow("read the configuration", configTimeout, endGrace)
	return config.Load(config.File(s.file), os.Environ(), s.values)
}

// outputID is the --output of a command that then prints only an id.
const outputID = "id"

// flagValue collects the values of one setting.
type flagValue struct {
	*settings
	setting config.Setting
}

func (v *flagValue) Set(text string) error {
	if v.setting.Name == "output" && v.offersID {
		if v.onlyID = text == outputID; v.onlyID {
			text = config.OutputText
		}
	}
	v.values[v.setting.Name] = append(v.values[v.setting.Name], text)
	return nil
}

func (v *flagValue) String() string { return "" }

// Type returns the text behind the flag in the help.
func (v *flagValue) Type() string {
	if v.setting.Value == "" {
		return "bool"
	}
	return v.setting.Value
}
