package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loadFile sets on c what the YAML file says. Without a name the default file is
// read where it exists.
func loadFile(c *Config, name string) error {
	explicit := name != ""
	if !explicit {
		name = DefaultConfigFile
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return nil
	}
	if err != nil {
		return usagef("read the configuration: %v", err)
	}
	if err := parseFile(c, text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// parseFile reads a document of two levels: the settings of the run, and the list
// "sources" with the settings of each. Errors name line and key.
func parseFile(c *Config, text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // empty, or comments only
		}
		return usagef("%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return usagef("there is a second YAML document; one is enough")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	return eachKey(root, func(key string, value *yaml.Node) error {
		if key == "sources" {
			return parseSources(c, value)
		}
		return setFromNode(c, nil, key, value)
	})
}

func parseSources(c *Config, list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return usagef("line %d: sources: must be a list with at least one source", list.Line)
	}
	c.Sources = nil
	for _, item := range list.Content {
		s := DefaultSource()
		named := false
		err := eachKey(item, func(key string, value *yaml.Node) error {
			named = named || key == "source"
			return setFromNode(c, &s, key, value)
		})
		if err != nil {
			return err
		}
		if !named && len(list.Content) > 1 {
			return usagef("line %d: source: each of several sources needs its name", item.Line)
		}
		c.Sources = append(c.Sources, s)
	}
	return nil
}

// eachKey walks a mapping. A key may stand only once.
func eachKey(node *yaml.Node, visit func(key string, value *yaml.Node) error) error {
	if node.Kind != yaml.MappingNode {
		return usagef("line %d: expected keys with values", node.Line)
	}
	var seen []string
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if slices.Contains(seen, key.Value) {
			return usagef("line %d: %s: stands here twice", key.Line, key.Value)
		}
		seen = append(seen, key.Value)
		if err := visit(key.Value, node.Content[i+1]); err != nil {
			return atLine(key.Line, key.Value, err)
		}
	}
	return nil
}

// lineError is an error that already names its line.
type lineError struct{ error }

func (e lineError) Unwrap() error { return e.error }

func atLine(line int, key string, err error) error {
	if errors.As(err, new(lineError)) {
		return err
	}
	return lineError{fmt.Errorf("line %d: %s: %w", line, key, err)}
}

// setFromNode sets one key; of a source when s is not nil, else of the run.
func setFromNode(c *Config, s *Source, key string, node *yaml.Node) error {
	for _, setting := range Settings() {
		if setting.FileKey != key || setting.OfSource != (s != nil) {
			continue
		}
		values, err := scalars(node, setting.Repeatable)
		if err != nil {
			return err
		}
		return setting.set(c, s, values)
	}
	return usagef("there is no such key%s", suggestion(key, s != nil))
}

// suggestion helps with a key that stands at the wrong level or in the flag's form.
func suggestion(key string, ofSource bool) string {
	for _, s := range Settings() {
		switch {
		case s.OfSource == ofSource && s.Name == key:
			return fmt.Sprintf("; in the file it is %q, a list", s.FileKey)
		case s.OfSource != ofSource && s.FileKey == key && s.OfSource:
			return "; it belongs to a source, in the list \"sources\""
		case s.OfSource != ofSource && s.FileKey == key:
			return "; it belongs to the top level, not to a source"
		}
	}
	return ""
}

// scalars gives a node's text: one value, a list of values, or "k=v" for each
// entry of a mapping.
func scalars(node *yaml.Node, repeatable bool) ([]string, error) {
	one := func(n *yaml.Node) (string, error) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			return "", usagef("expected a value")
		}
		return n.Value, nil
	}
	switch {
	case node.Kind == yaml.SequenceNode && repeatable:
		values := []string{}
		for _, item := range node.Content {
			v, err := one(item)
			if err != nil {
				return nil, atLine(item.Line, "list item", err)
			}
			values = append(values, v)
		}
		return values, nil
	case node.Kind == yaml.MappingNode && repeatable:
		values := []string{}
		err := eachKey(node, func(key string, n *yaml.Node) error {
			v, err := one(n)
			values = append(values, key+"="+v)
			return err
		})
		return values, err
	case repeatable:
		return nil, usagef("expected a list")
	}
	v, err := one(node)
	return []string{v}, err
}
