package examples

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// configuration is a Terraform configuration: the blocks of all files of a directory.
type configuration struct {
	Settings  []tfSettings `hcl:"terraform,block"`
	Variables []tfVariable `hcl:"variable,block"`
	Locals    []tfLocals   `hcl:"locals,block"`
	Data      []tfResource `hcl:"data,block"`
	Resources []tfResource `hcl:"resource,block"`
	Outputs   []tfOutput   `hcl:"output,block"`
}

type tfSettings struct {
	Version   string `hcl:"required_version"`
	Providers struct {
		AWS map[string]string `hcl:"aws"`
	} `hcl:"required_providers,block"`
}

type tfVariable struct {
	Name        string         `hcl:"name,label"`
	Description string         `hcl:"description"`
	Type        hcl.Expression `hcl:"type"`
	Default     hcl.Expression `hcl:"default,optional"`
}

type tfLocals struct {
	Body hcl.Body `hcl:",remain"`
}

type tfResource struct {
	Type      string         `hcl:"type,label"`
	Name      string         `hcl:"name,label"`
	DependsOn hcl.Expression `hcl:"depends_on,optional"`
	Lifecycle *struct {
		Ignore hcl.Expression `hcl:"ignore_changes,optional"`
	} `hcl:"lifecycle,block"`
	Body hcl.Body `hcl:",remain"`
}

type tfOutput struct {
	Name        string         `hcl:"name,label"`
	Description string         `hcl:"description"`
	Value       hcl.Expression `hcl:"value"`
}

func check(t *testing.T, diagnostics hcl.Diagnostics) {
	t.Helper()
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
}

// parseHCL reads the files of a directory whose names have an extension. They must be as "terraform fmt"
// and "packer fmt" write them.
func parseHCL(t *testing.T, pattern string, into any) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %q, %v", pattern, names, err)
	}
	parser := hclparse.NewParser()
	var files []*hcl.File
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(hclwrite.Format(text)) != string(text) {
			t.Errorf("%s is not formatted", name)
		}
		f, diagnostics := parser.ParseHCL(text, name)
		check(t, diagnostics)
		files = append(files, f)
	}
	check(t, gohcl.DecodeBody(hcl.MergeFiles(files), nil, into))
}

// functions are those that the example uses.
var functions = map[string]function.Function{
	"jsonencode": stdlib.JSONEncodeFunc,
	"base64encode": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(base64.StdEncoding.EncodeToString([]byte(arguments[0].AsString()))), nil
		},
	}),
}

// scope has the values that expressions refer to, by type and name.
type scope map[string]map[string]cty.Value

func (s scope) context() *hcl.EvalContext {
	c := &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{}}
	for name, values := range s {
		c.Variables[name] = cty.ObjectVal(values)
	}
	return c
}

// knows says whether all that a node refers to has a value.
func (s scope) knows(node hclsyntax.Node) bool {
	known := true
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics { // it gives no diagnostics
		e, refers := n.(*hclsyntax.ScopeTraversalExpr)
		if !refers || len(e.Traversal) < 2 {
			return nil
		}
		root := e.Traversal.RootName()
		if attribute, named := e.Traversal[1].(hcl.TraverseAttr); named && (root == "local" || strings.HasPrefix(root, "aws_")) {
			_, has := s[root][attribute.Name]
			known = known && has
		}
		return nil
	})
	return known
}

func (s scope) set(kind, name string, v cty.Value) {
	if s[kind] == nil {
		s[kind] = map[string]cty.Value{}
	}
	s[kind][name] = v
}

// values returns the values of the variables: those given, else their defaults.
func (c *configuration) values(t *testing.T, given map[string]cty.Value) map[string]cty.Value {
	t.Helper()
	values := map[string]cty.Value{}
	for _, v := range c.Variables {
		kind, diagnostics := typeexpr.TypeConstraint(v.Type)
		check(t, diagnostics)
		value, has := given[v.Name]
		if !has {
			value, diagnostics = v.Default.Value(nil)
			check(t, diagnostics)
		}
		if value.IsNull() {
			t.Fatalf("the variable %s has no value and no default", v.Name)
		}
		converted, err := convert.Convert(value, kind)
		if err != nil {
			t.Fatalf("the variable %s: %v", v.Name, err)
		}
		values[v.Name] = converted
	}
	for name := range given {
		if _, declared := values[name]; !declared {
			t.Fatalf("there is no variable %s", name)
		}
	}
	return values
}

// applyTerraform creates what examples/terraform has, in an account, in the order of its references.
func applyTerraform(t *testing.T, next account, given map[string]cty.Value) stack {
	t.Helper()
	var c configuration
	parseHCL(t, "terraform/*.tf", &c)
	made := stack{outputs: map[string]string{}, calls: &recorder{t: t, next: next}}
	known := scope{"var": c.values(t, given)}
	for _, d := range c.Data {
		if d.Type != "aws_partition" {
			t.Fatalf("the data source %s is not known here", d.Type)
		}
		known.set("data", d.Type, cty.ObjectVal(map[string]cty.Value{d.Name: cty.ObjectVal(map[string]cty.Value{"partition": cty.StringVal("aws")})}))
	}
	c.evaluateLocals(t, known)
	for left := c.Resources; len(left) > 0; {
		before := len(left)
		left = slices.DeleteFunc(slices.Clone(left), func(r tfResource) bool { return r.create(t, known, made.calls) })
		if len(left) == before {
			t.Fatalf("%s.%s refers to what does not exist, or in a circle", left[0].Type, left[0].Name)
		}
	}
	for _, o := range c.Outputs {
		value, diagnostics := o.Value.Value(known.context())
		check(t, diagnostics)
		made.outputs[o.Name] = value.AsString()
	}
	return made
}

func (c *configuration) evaluateLocals(t *testing.T, known scope) {
	t.Helper()
	for _, l := range c.Locals {
		attributes, diagnostics := l.Body.JustAttributes()
		check(t, diagnostics)
		for name, a := range attributes {
			value, diagnostics := a.Expr.Value(known.context())
			check(t, diagnostics)
			known.set("local", name, value)
		}
	}
}

// create creates the resource, if all that it refers to exists.
func (r tfResource) create(t *testing.T, known scope, a account) bool {
	t.Helper()
	if !known.knows(r.Body.(*hclsyntax.Body)) {
		return false
	}
	kind := terraformTypes[r.Type]
	if kind == nil {
		t.Fatalf("the resource type %s is not known here", r.Type)
	}
	resource := kind()
	r.checkIgnored(t, resource)
	check(t, gohcl.DecodeBody(dynblock.Expand(r.Body, known.context()), known.context(), resource))
	attributes := map[string]cty.Value{}
	for name, value := range resource.create(a) {
		attributes[name] = cty.StringVal(value)
	}
	known.set(r.Type, r.Name, cty.ObjectVal(attributes))
	return true
}

// checkIgnored checks that ignore_changes lists arguments of the type.
func (r tfResource) checkIgnored(t *testing.T, resource terraformType) {
	t.Helper()
	if r.Lifecycle == nil {
		return
	}
	ignored, diagnostics := hcl.ExprList(r.Lifecycle.Ignore)
	check(t, diagnostics)
	schema, _ := gohcl.ImpliedBodySchema(reflect.ValueOf(resource).Elem().Interface())
	for _, e := range ignored {
		name := hcl.ExprAsKeyword(e)
		if !slices.ContainsFunc(schema.Attributes, func(a hcl.AttributeSchema) bool { return a.Name == name }) &&
			!slices.ContainsFunc(schema.Blocks, func(b hcl.BlockHeaderSchema) bool { return b.Type == name }) {
			t.Errorf("%s.%s ignores changes of %q, which is no argument", r.Type, r.Name, name)
		}
	}
}
