package examples

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
)

// account is where a template creates its resources, by the calls that its tool would make.
type account interface {
	// call makes a call with its parameters as the AWS CLI takes them with --cli-input-json, and returns
	// its output.
	call(service, command string, parameters map[string]any) map[string]any
}

// stack is what a template has created.
type stack struct {
	outputs map[string]string
	calls   *recorder
}

// recorder records calls on their way to an account; without one it answers itself.
type recorder struct {
	t     *testing.T
	next  account
	calls []recordedCall
}

type recordedCall struct {
	service, command string
	parameters       map[string]any
}

// recordedTemplate is the id of a launch template that nothing but a recorder has.
const recordedTemplate = "lt-0123456789abcdef0"

// call implements [account]. Nobody simulates IAM: its calls go no further.
func (r *recorder) call(service, command string, parameters map[string]any) map[string]any {
	r.calls = append(r.calls, recordedCall{service, command, parameters})
	if r.next != nil && service != "iam" {
		return r.next.call(service, command, parameters)
	}
	if command == "create-launch-template" {
		return map[string]any{"LaunchTemplate": map[string]any{"LaunchTemplateId": recordedTemplate}}
	}
	return nil
}

// only returns the parameters of a call that was made once.
func (r *recorder) only(command string) map[string]any {
	r.t.Helper()
	all := r.all(command)
	if len(all) != 1 {
		r.t.Fatalf("%d calls of %s, want one", len(all), command)
	}
	return all[0]
}

func (r *recorder) all(command string) (all []map[string]any) {
	for _, c := range r.calls {
		if c.command == command {
			all = append(all, c.parameters)
		}
	}
	return all
}

// policies returns the policies of the roles, by the role's name.
func (r *recorder) policies() map[string]any {
	r.t.Helper()
	all := map[string]any{}
	for _, p := range r.all("put-role-policy") {
		var document any
		if err := json.Unmarshal([]byte(p["PolicyDocument"].(string)), &document); err != nil {
			r.t.Fatalf("the policy of %s: %v", p["RoleName"], err)
		}
		all[p["RoleName"].(string)] = document
	}
	return all
}

// userData returns the user-data of the launch template.
func (r *recorder) userData() string {
	r.t.Helper()
	data := r.only("create-launch-template")["LaunchTemplateData"].(map[string]any)
	text, err := base64.StdEncoding.DecodeString(fmt.Sprint(data["UserData"]))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// createTemplate creates a launch template and returns its id.
func createTemplate(a account, name string, data map[string]any) string {
	answer := a.call("ec2", "create-launch-template", map[string]any{"LaunchTemplateName": name, "LaunchTemplateData": data})
	return answer["LaunchTemplate"].(map[string]any)["LaunchTemplateId"].(string)
}
