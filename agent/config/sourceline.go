package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// namedSource matches the names of sources in the errors of [Config.Validate].
var namedSource = regexp.MustCompile(`\bsources? ("(?:[^"\\]|\\.)*")(?: and ("(?:[^"\\]|\\.)*"))?`)

// sourceLine is where the file has a source.
type sourceLine struct {
	name string
	line int
}

// sourceLines lists where a valid file has its sources, in order: at the key "source", or where
// the source begins.
func sourceLines(text []byte) (lines []sourceLine) {
	var top struct {
		Sources []yaml.Node `yaml:"sources"`
	}
	if err := yaml.Unmarshal(text, &top); err != nil {
		return nil
	}
	for _, item := range top.Sources {
		at := sourceLine{DefaultSource().Name, item.Line}
		for i := 0; i+1 < len(item.Content); i += 2 {
			if value := item.Content[i+1]; item.Content[i].Value == "source" {
				if value.Kind == yaml.AliasNode {
					value = value.Alias
				}
				at = sourceLine{value.Value, item.Content[i].Line}
			}
		}
		lines = append(lines, at)
	}
	return lines
}

// byLine replaces the names of the file's sources in an error by their lines, as the names are
// text of the file. Others stay.
func byLine(err error, text []byte) error {
	lines := sourceLines(text)
	first := func(quoted string) (line int) {
		for _, l := range lines {
			if line == 0 && strconv.Quote(l.name) == quoted {
				line = l.line
			}
		}
		return line
	}
	last := func(quoted string) (line int) {
		for _, l := range lines {
			if strconv.Quote(l.name) == quoted {
				line = l.line
			}
		}
		return line
	}
	said := namedSource.ReplaceAllStringFunc(err.Error(), func(found string) string {
		names := namedSource.FindStringSubmatch(found)
		a, b := first(names[1]), last(names[2])
		switch {
		case a > 0 && b > 0:
			return fmt.Sprintf("the sources at lines %d and %d", a, b)
		case a > 0 && names[2] == "":
			return fmt.Sprintf("the source at line %d", a)
		}
		return found
	})
	return errors.New(said)
}
