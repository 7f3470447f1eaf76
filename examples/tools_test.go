package examples

import (
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// inputs are the values of a template's variables that the tests change.
type inputs struct {
	name, source, role string
	warmPool           int64
}

// tool is one of the two ways to create the same resources.
type tool struct {
	name                     string
	apply                    func(t *testing.T, a account, in *inputs) stack // nil: the defaults
	instanceRole, deployRole string                                          // with the default name
	templateOutput           string
}

var tools = []tool{
	{"terraform", terraformWith, "app-instance", "app-deploy", "launch_template_id"},
	{"cloudformation", cloudFormationWith, "app-InstanceRole", "app-DeployRole", "LaunchTemplate"},
}

const (
	inputImage = "ami-0123456789abcdef0"
	inputGroup = "sg-0123456789abcdef0"
)

var inputSubnets = []string{"subnet-0123456789abcdef0", "subnet-0123456789abcdef1"}

// terraformWith applies the Terraform example with values for the variables that have no default.
func terraformWith(t *testing.T, a account, in *inputs) stack {
	t.Helper()
	given := map[string]cty.Value{
		"image_id":           cty.StringVal(inputImage),
		"subnet_ids":         cty.TupleVal([]cty.Value{cty.StringVal(inputSubnets[0]), cty.StringVal(inputSubnets[1])}),
		"security_group_ids": cty.TupleVal([]cty.Value{cty.StringVal(inputGroup)}),
	}
	if in != nil {
		given["name"], given["source_name"], given["role"] = cty.StringVal(in.name), cty.StringVal(in.source), cty.StringVal(in.role)
		given["warm_pool_size"] = cty.NumberIntVal(in.warmPool)
	}
	return applyTerraform(t, a, given)
}

// cloudFormationWith applies the CloudFormation example with values for the parameters that have no default.
func cloudFormationWith(t *testing.T, a account, in *inputs) stack {
	t.Helper()
	given := map[string]any{"Image": inputImage, "Subnets": []any{inputSubnets[0], inputSubnets[1]}, "SecurityGroups": []any{inputGroup}}
	if in != nil {
		given["Name"], given["Source"], given["Role"], given["WarmPoolSize"] = in.name, in.source, in.role, in.warmPool
	}
	return applyCloudFormation(t, a, given)
}
