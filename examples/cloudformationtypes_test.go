package examples

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// cloudFormationTypes create a resource of a type from its properties, as CloudFormation does, and return
// what Ref and GetAtt return. (CloudFormation template reference, "Return values" of each type)
var cloudFormationTypes = map[string]func(a account, name string, p map[string]any) (ref string, attributes map[string]string, err error){
	"AWS::IAM::Role":                     createRole,
	"AWS::IAM::InstanceProfile":          createProfile,
	"AWS::IAM::Policy":                   createPolicy,
	"AWS::EC2::LaunchTemplate":           createLaunchTemplate,
	"AWS::AutoScaling::AutoScalingGroup": createGroup,
	"AWS::AutoScaling::WarmPool":         createWarmPool,
}

// stackName begins the names of resources that have none.
const stackName = "app-"

func createRole(a account, name string, p map[string]any) (string, map[string]string, error) {
	trust, err := json.Marshal(p["AssumeRolePolicyDocument"])
	a.call("iam", "create-role", map[string]any{"RoleName": stackName + name, "AssumeRolePolicyDocument": string(trust)})
	return stackName + name, nil, err
}

func createProfile(a account, name string, p map[string]any) (string, map[string]string, error) {
	a.call("iam", "create-instance-profile", map[string]any{"InstanceProfileName": stackName + name})
	for _, role := range p["Roles"].([]any) {
		a.call("iam", "add-role-to-instance-profile", map[string]any{"InstanceProfileName": stackName + name, "RoleName": role})
	}
	return stackName + name, nil, nil
}

func createPolicy(a account, name string, p map[string]any) (string, map[string]string, error) {
	document, err := json.Marshal(p["PolicyDocument"])
	for _, role := range p["Roles"].([]any) {
		a.call("iam", "put-role-policy", map[string]any{"RoleName": role, "PolicyName": p["PolicyName"], "PolicyDocument": string(document)})
	}
	return stackName + name, nil, err
}

func createLaunchTemplate(a account, _ string, p map[string]any) (string, map[string]string, error) {
	data := p["LaunchTemplateData"].(map[string]any)
	if groups, _ := data["SecurityGroupIds"].([]any); len(groups) == 0 {
		return "", nil, errors.New("SecurityGroupIds is empty")
	}
	id := createTemplate(a, p["LaunchTemplateName"].(string), data)
	return id, map[string]string{"LatestVersionNumber": "1", "DefaultVersionNumber": "1"}, nil
}

// createGroup creates a group. CloudFormation refuses a version that is not a number: "CloudFormation does
// not support using $Latest or $Default for LaunchTemplate version"
// (aws-cloudformation/cloudformation-coverage-roadmap#295).
func createGroup(a account, _ string, p map[string]any) (string, map[string]string, error) {
	version := fmt.Sprint(p["LaunchTemplate"].(map[string]any)["Version"])
	if strings.Trim(version, "0123456789") != "" {
		return "", nil, fmt.Errorf("the group's version is %q: CloudFormation accepts only a number", version)
	}
	group := map[string]any{}
	for name, value := range p {
		group[name] = value
	}
	var subnets []string
	for _, id := range p["VPCZoneIdentifier"].([]any) {
		subnets = append(subnets, fmt.Sprint(id))
	}
	group["VPCZoneIdentifier"] = strings.Join(subnets, ",")
	a.call("autoscaling", "create-auto-scaling-group", group)
	return p["AutoScalingGroupName"].(string), nil, nil
}

func createWarmPool(a account, _ string, p map[string]any) (string, map[string]string, error) {
	a.call("autoscaling", "put-warm-pool", p)
	return p["AutoScalingGroupName"].(string), nil, nil
}

// applyCloudFormation creates what examples/cloudformation/app.yaml has, in an account, in the order of
// its references, and checks it against the schema.
func applyCloudFormation(t *testing.T, next account, given map[string]any) stack {
	t.Helper()
	c := readTemplate(t, "cloudformation/app.yaml")
	c.checkSections()
	c.setParameters(given)
	made := stack{outputs: map[string]string{}, calls: &recorder{t: t, next: next}}
	resolved := map[string]any{}
	for left := c.names(); len(left) > 0; {
		before := len(left)
		left = slices.DeleteFunc(left, func(name string) bool { return c.create(made.calls, name, resolved) })
		if len(left) == before {
			t.Fatalf("%s refers to what does not exist, or in a circle", left[0])
		}
	}
	c.validate(resolved)
	for name, o := range c.section("Outputs") {
		value, err := c.resolve(o.(map[string]any)["Value"])
		if err != nil {
			t.Fatalf("the output %s: %v", name, err)
		}
		made.outputs[name] = value.(string)
	}
	return made
}

// names returns the names of the resources that the conditions let exist, in their alphabetical order.
func (c *template) names() (names []string) {
	c.t.Helper()
	for name, r := range c.section("Resources") {
		condition, conditional := r.(map[string]any)["Condition"].(string)
		if conditional {
			holds, err := c.resolve(c.section("Conditions")[condition])
			if err != nil {
				c.t.Fatalf("the condition %s of %s: %v", condition, name, err)
			}
			if holds != true {
				continue
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// create creates a resource, if all that it refers to exists, and adds it to those that are resolved.
func (c *template) create(a account, name string, resolved map[string]any) bool {
	c.t.Helper()
	r := c.section("Resources")[name].(map[string]any)
	if after, depends := r["DependsOn"].(string); depends && resolved[after] == nil {
		return false
	}
	properties, err := c.resolve(r["Properties"])
	if errors.Is(err, errLater) {
		return false
	}
	kind := cloudFormationTypes[fmt.Sprint(r["Type"])]
	if err == nil && kind == nil {
		err = fmt.Errorf("the resource type %v is not known here", r["Type"])
	}
	if err == nil {
		c.refs[name], c.attributes[name], err = kind(a, name, properties.(map[string]any))
	}
	if err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	whole := map[string]any{}
	for key, value := range r {
		whole[key] = value
	}
	whole["Properties"] = properties
	resolved[name] = whole
	return true
}
