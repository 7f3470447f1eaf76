package config

import (
	"regexp"

	"go.yaml.in/yaml/v3"
)

// outputLine matches the setting "output: json" in a file that is not valid YAML.
var outputLine = regexp.MustCompile(`(?m)^output:[ \t]+(?:json|"json"|'json')[ \t]*(?:#.*)?\r?$`)

// FileWantsJSON reports whether a file, which may be invalid, sets the output to JSON: the errors
// about the file are printed as it wants. "" is the default file.
func FileWantsJSON(name string) bool {
	if name == "" {
		name = DefaultConfigFile
	}
	text, err := readConfig(name)
	if err != nil {
		return false
	}
	var top map[string]yaml.Node
	if err := yaml.Unmarshal(text, &top); err != nil {
		return outputLine.Match(text)
	}
	output := top["output"]
	return output.Value == OutputJSON
}
