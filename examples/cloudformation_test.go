package examples

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/awslabs/goformation/v7/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// errLater is the error of a value that refers to a resource that does not exist yet.
var errLater = errors.New("refers to what does not exist")

// template is a CloudFormation template, and what its references refer to.
type template struct {
	t          *testing.T
	sections   map[string]any
	parameters map[string]any               // by name
	refs       map[string]string            // of the resources: what Ref returns
	attributes map[string]map[string]string // of the resources, for GetAtt
	absent     map[string]bool              // resources whose condition is false
}

// readTemplate reads a template. Functions are in their long form: {"Fn::Sub": …}.
func readTemplate(t *testing.T, file string) *template {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	sections, err := plain(document.Content[0])
	if err != nil {
		t.Fatal(err)
	}
	return &template{
		t: t, sections: sections.(map[string]any), parameters: map[string]any{},
		refs: map[string]string{"AWS::Partition": "aws"}, attributes: map[string]map[string]string{}, absent: map[string]bool{},
	}
}

// plain returns a node as JSON has it.
func plain(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" { // CloudFormation user guide, "Template formats", of 2018
		return nil, fmt.Errorf("line %d: CloudFormation has no aliases", n.Line)
	}
	if short, is := strings.CutPrefix(n.Tag, "!"); is && !strings.HasPrefix(short, "!") {
		copied := *n
		copied.Tag = ""
		argument, err := plain(&copied)
		name := "Fn::" + short
		switch short {
		case "Ref", "Condition":
			name = short
		case "GetAtt":
			resource, attribute, _ := strings.Cut(fmt.Sprint(argument), ".")
			argument = []any{resource, attribute}
		}
		return map[string]any{name: argument}, err
	}
	switch n.Kind {
	case yaml.MappingNode:
		all := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := all[key]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice", n.Content[i].Line, key)
			}
			value, err := plain(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			all[key] = value
		}
		return all, nil
	case yaml.SequenceNode:
		all := []any{}
		for _, item := range n.Content {
			value, err := plain(item)
			if err != nil {
				return nil, err
			}
			all = append(all, value)
		}
		return all, nil
	}
	var value any
	err := n.Decode(&value)
	return value, err
}

// setParameters gives the parameters their values: those given, else their defaults.
func (c *template) setParameters(given map[string]any) {
	c.t.Helper()
	declared := c.section("Parameters")
	for name := range given {
		if declared[name] == nil {
			c.t.Fatalf("there is no parameter %s", name)
		}
	}
	for name, p := range declared {
		value, has := given[name]
		if !has {
			value, has = p.(map[string]any)["Default"]
		}
		if !has {
			c.t.Fatalf("the parameter %s has no value and no default", name)
		}
		c.parameters[name] = value
	}
}

func (c *template) section(name string) map[string]any {
	section, _ := c.sections[name].(map[string]any)
	return section
}

// resolve returns a value with its functions evaluated. The error wraps errLater if it refers to a
// resource that does not exist yet.
func (c *template) resolve(value any) (any, error) {
	switch value := value.(type) {
	case []any:
		all := []any{}
		for _, item := range value {
			resolved, err := c.resolve(item)
			if err != nil {
				return nil, err
			}
			all = append(all, resolved)
		}
		return all, nil
	case map[string]any:
		if len(value) == 1 {
			for name, argument := range value {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return c.evaluate(name, argument)
				}
			}
		}
		all := map[string]any{}
		for name, item := range value {
			resolved, err := c.resolve(item)
			if err != nil {
				return nil, err
			}
			all[name] = resolved
		}
		return all, nil
	}
	return value, nil
}

// evaluate evaluates one function.
func (c *template) evaluate(name string, argument any) (any, error) {
	if name == "Fn::Sub" {
		return c.substitute(argument.(string))
	}
	argument, err := c.resolve(argument)
	if err != nil {
		return nil, err
	}
	switch name {
	case "Ref":
		return c.ref(argument.(string))
	case "Fn::GetAtt":
		resource, attribute := argument.([]any)[0].(string), argument.([]any)[1].(string)
		if c.attributes[resource] == nil {
			return nil, fmt.Errorf("%s: %w", resource, errLater)
		}
		value, has := c.attributes[resource][attribute]
		if !has {
			return nil, fmt.Errorf("%s has no attribute %s here", resource, attribute)
		}
		return value, nil
	case "Fn::Base64":
		return base64.StdEncoding.EncodeToString([]byte(argument.(string))), nil
	case "Fn::Equals":
		return fmt.Sprint(argument.([]any)[0]) == fmt.Sprint(argument.([]any)[1]), nil
	case "Fn::Not":
		return !argument.([]any)[0].(bool), nil
	}
	return nil, fmt.Errorf("the function %s is not known here", name)
}

// ref returns what Ref returns.
func (c *template) ref(name string) (any, error) {
	if value, has := c.parameters[name]; has {
		return value, nil
	}
	if value, has := c.refs[name]; has {
		return value, nil
	}
	if c.section("Resources")[name] == nil {
		return nil, fmt.Errorf("there is no %s", name)
	}
	return nil, fmt.Errorf("%s: %w", name, errLater)
}

// substitute evaluates Fn::Sub: ${Name}, ${Name.Attribute}, and ${!Literal}.
func (c *template) substitute(text string) (any, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, _ := strings.Cut(rest, "}")
		text = after
		if literal, is := strings.CutPrefix(name, "!"); is {
			out.WriteString("${" + literal + "}")
			continue
		}
		value, err := c.ref(name)
		if err != nil {
			return nil, err
		}
		fmt.Fprint(&out, value)
	}
}

// definitions are those of goformation's JSON schema: of the resource types, and of what they consist of.
func definitions(t *testing.T) map[string]any {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(schema.CloudformationSchema))
	if err != nil {
		t.Fatal(err)
	}
	return document.(map[string]any)["definitions"].(map[string]any)
}

// compile compiles one definition, in which CloudFormation accepts a number where it says a string.
// Compiling all of them takes half a minute.
func compile(t *testing.T, all map[string]any, name string) *jsonschema.Schema {
	t.Helper()
	if all[name] == nil {
		t.Fatalf("the schema has no type %s", name)
	}
	used := map[string]any{}
	addUsed(all, used, name)
	acceptNumbers(used)
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("type.json", map[string]any{"$ref": definitionPrefix + name, "definitions": used}); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("type.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

const definitionPrefix = "#/definitions/"

// addUsed adds a definition and those that it refers to.
func addUsed(all, used map[string]any, name string) {
	if used[name] != nil {
		return
	}
	used[name] = all[name]
	var visit func(part any)
	visit = func(part any) {
		switch part := part.(type) {
		case map[string]any:
			if ref, refers := part["$ref"].(string); refers {
				addUsed(all, used, strings.TrimPrefix(ref, definitionPrefix))
			}
			for _, below := range part {
				visit(below)
			}
		case []any:
			for _, below := range part {
				visit(below)
			}
		}
	}
	visit(all[name])
}

func acceptNumbers(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if s["type"] == "string" && s["enum"] == nil {
			s["type"] = []any{"string", "number"}
		}
		for _, below := range s {
			acceptNumbers(below)
		}
	case []any:
		for _, below := range s {
			acceptNumbers(below)
		}
	}
}

// validate checks the parameters, and the resources with all functions evaluated, against the schema.
func (c *template) validate(resources map[string]any) {
	c.t.Helper()
	all := definitions(c.t)
	for name, r := range resources {
		c.validateOne(name, r, compile(c.t, all, fmt.Sprint(r.(map[string]any)["Type"])))
	}
	parameter := compile(c.t, all, "Parameter")
	for name, p := range c.section("Parameters") {
		c.validateOne(name, p, parameter)
	}
}

func (c *template) validateOne(name string, value any, s *jsonschema.Schema) {
	c.t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		c.t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := s.Validate(document); err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
}

// sections are those that a template may have.
var sections = []string{"AWSTemplateFormatVersion", "Description", "Parameters", "Conditions", "Resources", "Outputs"}

func (c *template) checkSections() {
	c.t.Helper()
	for name := range c.sections {
		if !slices.Contains(sections, name) {
			c.t.Errorf("the section %s is not known here", name)
		}
	}
}
