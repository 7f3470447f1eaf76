package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
)

// settings are the flags of a command that works on sources.
type settings struct {
	program *program
	file    string
	verbose bool
	values  map[string][]string
}

// addSettings adds a flag for each of the agent's settings to a command, or only for the
// named ones.
func (p *program) addSettings(c *cobra.Command, names ...string) *settings {
	s := &settings{program: p, values: map[string][]string{}}
	c.Flags().SortFlags = false
	for _, setting := range config.Settings() {
		if len(names) > 0 && !slices.Contains(names, setting.Name) {
			continue
		}
		f := c.Flags().VarPF(&flagValue{s.values, setting}, setting.Name, "", setting.Doc)
		if setting.Value == "" {
			f.NoOptDefVal = "true"
		}
	}
	c.Flags().StringVar(&s.file, "config", "", "YAML file with the same settings (default "+config.DefaultConfigFile+")")
	c.Flags().BoolVarP(&s.verbose, "verbose", "v", false, "log every step and every call to AWS on stderr")
	return s
}

// load combines flags, environment and file.
func (s *settings) load() (config.Config, error) {
	s.program.watch.allow("read the configuration", configTimeout, endGrace)
	return config.Load(config.File(s.file), os.Environ(), s.values)
}

// flagValue collects the values of one setting.
type flagValue struct {
	values  map[string][]string
	setting config.Setting
}

func (v *flagValue) Set(text string) error {
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
