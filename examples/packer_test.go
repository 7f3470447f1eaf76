package examples

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// packerTemplate is a template of Packer. The arguments are those of its documentation ("HCL templates",
// and "Amazon EBS" of the plugin, 1.3): of a source and of provisioners only what the example uses.
type packerTemplate struct {
	Packer struct {
		Plugins struct {
			Amazon map[string]string `hcl:"amazon"`
		} `hcl:"required_plugins,block"`
	} `hcl:"packer,block"`
	Variables []tfVariable `hcl:"variable,block"`
	Sources   []struct {
		Type string   `hcl:"type,label"`
		Name string   `hcl:"name,label"`
		Body hcl.Body `hcl:",remain"`
	} `hcl:"source,block"`
	Build struct {
		Sources      []string `hcl:"sources"`
		Provisioners []struct {
			Type string   `hcl:"type,label"`
			Body hcl.Body `hcl:",remain"`
		} `hcl:"provisioner,block"`
	} `hcl:"build,block"`
}

type packerSource struct {
	Region       string `hcl:"region"`
	InstanceType string `hcl:"instance_type"`
	User         string `hcl:"ssh_username"`
	Name         string `hcl:"ami_name"`
	IMDS         string `hcl:"imds_support,optional"`
	Filter       struct {
		Filters map[string]string `hcl:"filters"`
		Owners  []string          `hcl:"owners"`
		Newest  bool              `hcl:"most_recent,optional"`
	} `hcl:"source_ami_filter,block"`
	Metadata *tfMetadata `hcl:"metadata_options,block"`
}

type packerFile struct {
	Sources     []string `hcl:"sources"`
	Destination string   `hcl:"destination"`
}

type packerShell struct {
	Inline []string `hcl:"inline"`
}

// TestPacker: the template is valid, and copies what its command runs.
func TestPacker(t *testing.T) {
	var p packerTemplate
	parseHCL(t, "image/*.pkr.hcl", &p)
	c := configuration{Variables: p.Variables}
	context := &hcl.EvalContext{
		Variables: map[string]cty.Value{
			"var":  cty.ObjectVal(c.values(t, map[string]cty.Value{"package": cty.StringVal("dist/snapsource_1.0.0_amd64.deb")})),
			"path": cty.ObjectVal(map[string]cty.Value{"root": cty.StringVal("image")}),
		},
		Functions: map[string]function.Function{"basename": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "path", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
			Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
				return cty.StringVal(path.Base(arguments[0].AsString())), nil
			},
		})},
	}
	var source packerSource
	var files packerFile
	var shell packerShell
	check(t, gohcl.DecodeBody(p.Sources[0].Body, context, &source))
	check(t, gohcl.DecodeBody(p.Build.Provisioners[0].Body, context, &files))
	check(t, gohcl.DecodeBody(p.Build.Provisioners[1].Body, context, &shell))
	if want := "source." + p.Sources[0].Type + "." + p.Sources[0].Name; !slices.Equal(p.Build.Sources, []string{want}) {
		t.Errorf("it builds %q, want %q", p.Build.Sources, want)
	}
	if source.Metadata.Tokens != "required" || source.IMDS != "v2.0" {
		t.Errorf("the metadata service answers without a token: %+v", source)
	}
	var copied []string
	for _, file := range files.Sources {
		copied = append(copied, files.Destination+path.Base(file))
	}
	words := strings.Fields(shell.Inline[0])
	if p.Build.Provisioners[0].Type != "file" || p.Build.Provisioners[1].Type != "shell" || len(words) != 6 {
		t.Fatalf("the provisioners are %+v; the command is %q", p.Build.Provisioners, words)
	}
	for _, file := range words[2:5] {
		if !slices.Contains(copied, file) {
			t.Errorf("%s is not among the files that are copied, %q", file, copied)
		}
	}
}
