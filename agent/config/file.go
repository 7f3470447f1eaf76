package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// configMax bounds a configuration file, in bytes.
const configMax = 1 << 20

// loadFile applies the YAML file to c. It returns the name and text of the file read, "" if
// none. Without a name it reads the default file if that exists.
//
// A user may run the command by sudo and not be allowed to read the file. So errors contain
// line numbers and keys of settings, but no other text of the file, which may be /etc/shadow.
func loadFile(c *Config, name string) (read string, text []byte, err error) {
	explicit := name != ""
	if !explicit {
		name = DefaultConfigFile
	}
	text, err = readConfig(name)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, Usagef("read the configuration: %v", err)
	}
	if err := parseFile(c, text); err != nil {
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	return name, text, nil
}

// readConfig reads a regular file of at most [configMax] bytes. It does not block on a FIFO,
// reads no device, and no endless file from /proc, where files have the size 0.
func readConfig(name string) (text []byte, err error) {
	regular := func(info fs.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is not a regular file", name)
		case info.Size() > configMax:
			return fmt.Errorf("%s has more than %d bytes", name, configMax)
		}
		return nil
	}
	if err := regular(os.Stat(name)); err != nil { // opening a device may have an effect
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err := regular(info, err); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, info.Size()))
}

// parseFile parses a document of two levels: the settings of the run, and the list "sources"
// with the settings of each. Errors name line and key.
func parseFile(c *Config, text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // empty, or comments only
		}
		return Usage(yamlProblem(err) + ofTabs(text))
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return Usagef("there is a second YAML document; only one is allowed")
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

// yamlQuote matches what errors of the YAML library quote: the name of an anchor in the file, or
// a character of the YAML syntax. The rest of their texts is constant.
var yamlQuote = regexp.MustCompile("'[^']*'|`[^`]*`")

// yamlProblem returns the text of the YAML library's error, without quotes of the file.
func yamlProblem(err error) string {
	return yamlQuote.ReplaceAllStringFunc(strings.TrimPrefix(err.Error(), "yaml: "), func(quoted string) string {
		if strings.ContainsFunc(quoted, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			return "'…'"
		}
		return quoted
	})
}

// ofTabs explains an error that a tab may have caused: YAML permits none before a line's text,
// and the library reports some of them as a character that can't start a token.
func ofTabs(text []byte) string {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("\t")) {
			return "; indent with spaces, not tabs"
		}
	}
	return ""
}

func parseSources(c *Config, list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return Usagef("line %d: sources: must be a list with at least one source", list.Line)
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
			return Usagef("line %d: source: each of several sources needs its name", item.Line)
		}
		c.Sources = append(c.Sources, s)
	}
	return nil
}

// eachKey visits the keys of a mapping and refuses duplicates. Errors name only the keys of
// settings.
func eachKey(node *yaml.Node, visit func(key string, value *yaml.Node) error) error {
	if node.Kind != yaml.MappingNode {
		return Usagef("line %d: expected keys with values", node.Line)
	}
	var seen []string
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if slices.Contains(seen, key.Value) {
			return atLine(key.Line, settingKey(key.Value), Usagef("duplicate key"))
		}
		seen = append(seen, key.Value)
		if err := visit(key.Value, node.Content[i+1]); err != nil {
			return atLine(key.Line, settingKey(key.Value), err)
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
	if key == "" {
		return lineError{fmt.Errorf("line %d: %w", line, err)}
	}
	return lineError{fmt.Errorf("line %d: %s: %w", line, key, err)}
}

// settingKey returns key if it is that of a setting, at whatever level, else "".
func settingKey(key string) string {
	for _, s := range Settings() {
		if key == s.FileKey || key == s.Name {
			return key
		}
	}
	if key == "sources" {
		return key
	}
	return ""
}

// setFromNode sets one key: of the source if s is not nil, else of the run.
func setFromNode(c *Config, s *Source, key string, node *yaml.Node) error {
	for _, setting := range Settings() {
		if setting.FileKey != key || setting.OfSource != (s != nil) {
			continue
		}
		values, err := scalars(node, setting.Repeatable)
		if err != nil {
			return err
		}
		return redact(setting.set(c, s, values), values)
	}
	return Usagef("there is no such key%s", suggestion(key, s != nil))
}

// quotedText matches the values, paths and sources in errors about settings.
var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\s/\S+|\ssame source \S+`)

// concealMin is the shortest part of a value that is redacted.
const concealMin = 3

// redact removes from an error the values from the file, and the parts of a bind or a tag; nil
// for nil.
func redact(err error, values []string) error {
	if err == nil {
		return nil
	}
	var parts []string
	for _, v := range values {
		parts = append(parts, v)
		parts = append(parts, strings.FieldsFunc(v, func(r rune) bool { return r == ':' || r == '=' || r == ',' })...)
	}
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	text := err.Error()
	for _, part := range parts {
		if quoted := strconv.Quote(part); len(part) >= concealMin && !strings.HasPrefix(part, "/dev/sd") {
			text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], "…")
			text = strings.ReplaceAll(text, part, "…")
		}
	}
	return Usage(quotedText.ReplaceAllStringFunc(text, func(text string) string {
		switch {
		case text[0] == '"':
			return `"…"`
		case strings.HasPrefix(text, " /dev/sd"): // EC2's device names
			return text
		case strings.HasPrefix(text, " same source"):
			return " same source …"
		}
		return " …"
	}))
}

// suggestion returns advice for a key at the wrong level, or a flag's name.
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
	return DidYouMean(key, fileKeys(ofSource))
}

// scalars returns a node's values: one, those of a list, or "k=v" for each entry of a mapping.
func scalars(node *yaml.Node, repeatable bool) ([]string, error) {
	one := func(n *yaml.Node) (string, error) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			return "", Usagef("expected a value")
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
		return nil, Usagef("expected a list")
	}
	v, err := one(node)
	return []string{v}, err
}

// scalarsOf returns all values of a YAML document.
func scalarsOf(text []byte) (values []string) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil
	}
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && settingKey(n.Value) == "" { // not a setting's key
			values = append(values, n.Value)
		}
		for _, child := range n.Content {
			walk(child)
		}
	}
	walk(&doc)
	return values
}
