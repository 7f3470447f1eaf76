package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// programs are built by the first test that needs one.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir) // a directory for temporary files
	}
	os.Exit(code)
}

// program returns the path of snapsource or ec2sandbox.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "examples"); programs.err != nil {
			return
		}
		build := exec.Command("go", "build", "-buildvcs=false", "-o", programs.dir+"/", "snapsource/cmd/...")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
		if out, err := build.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("build the programs: %w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// cloudConfig is what the user-data of the examples has.
type cloudConfig struct {
	WriteFiles []struct {
		Path    string `yaml:"path"`
		Content string `yaml:"content"`
	} `yaml:"write_files"`
}

// settings returns the settings that cloud-init writes.
func settings(t *testing.T, userData string) string {
	t.Helper()
	if !strings.HasPrefix(userData, "#cloud-config\n") {
		t.Fatalf("cloud-init would not read this as cloud-config:\n%s", userData)
	}
	var c cloudConfig
	decoder := yaml.NewDecoder(strings.NewReader(userData))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if len(c.WriteFiles) != 1 || c.WriteFiles[0].Path != "/etc/snapsource.yaml" {
		t.Fatalf("cloud-init writes %+v", c.WriteFiles)
	}
	return c.WriteFiles[0].Content
}

// printed returns what snapsource iam-policy prints.
func printed(t *testing.T, arguments ...string) (policy any) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "snapsource"), append([]string{"iam-policy"}, arguments...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", arguments, err)
	}
	if err := json.Unmarshal(out, &policy); err != nil {
		t.Fatal(err)
	}
	return policy
}

// TestPolicies: the policies of the roles are those that iam-policy prints for the settings in the
// user-data, also with other values for the variables.
func TestPolicies(t *testing.T) {
	for _, tool := range tools {
		for _, in := range []*inputs{nil, {name: "shop", source: "shop-code", role: "web"}} {
			made := tool.apply(t, nil, in)
			group, source := "app", "codepen-app"
			if in != nil {
				group, source = in.name, in.source
			}
			file := filepath.Join(t.TempDir(), "snapsource.yaml")
			if err := os.WriteFile(file, []byte(settings(t, made.calls.userData())), 0o644); err != nil {
				t.Fatal(err)
			}
			want := []any{
				printed(t, "--config", file, "--group", group, "--launch-template", recordedTemplate),
				printed(t, "--for", "boot,deploy,operator", "--source", source, "--launch-template", recordedTemplate),
			}
			roles := []string{tool.instanceRole, tool.deployRole}
			policies := made.calls.policies()
			for n, want := range want {
				role := roles[n]
				if in != nil && tool.name == "terraform" {
					role = strings.Replace(role, "app", in.name, 1)
				}
				if diff := cmp.Diff(want, policies[role]); diff != "" {
					t.Errorf("%s: the policy of %s is not the one that iam-policy prints (-want +got):\n%s", tool.name, role, diff)
				}
			}
			if len(policies) != 2 {
				t.Errorf("%s: %d policies, want 2", tool.name, len(policies))
			}
		}
	}
}

// TestUserData: both templates have the cloud-config of examples/user-data, with their own values in it.
func TestUserData(t *testing.T) {
	text, err := os.ReadFile("user-data/cloud-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := settings(t, string(text))
	for _, tool := range tools {
		if got := settings(t, tool.apply(t, nil, nil).calls.userData()); got != want {
			t.Errorf("%s: the settings are\n%s, want\n%s", tool.name, got, want)
		}
		got := settings(t, tool.apply(t, nil, &inputs{name: "shop", source: "shop-code", role: "web"}).calls.userData())
		if got != strings.NewReplacer("codepen-app", "shop-code", "[app]", "[web]").Replace(want) {
			t.Errorf("%s: with other values the settings are\n%s", tool.name, got)
		}
	}
}

// TestResources: both templates create the same group and launch template, with the metadata service as
// snapsource wants it, and the hook before the first instance.
func TestResources(t *testing.T) {
	for _, tool := range tools {
		made := tool.apply(t, nil, &inputs{name: "shop", source: "codepen-app", role: "app", warmPool: 2})
		launch := made.calls.only("create-launch-template")
		data := launch["LaunchTemplateData"].(map[string]any)
		delete(data, "UserData")
		delete(data, "IamInstanceProfile") // each tool has its own names
		version := "$Default"
		if tool.name == "cloudformation" {
			version = "1"
		}
		group := made.calls.only("create-auto-scaling-group")
		for _, c := range []struct{ name, got, want string }{
			{"launch template", text(t, launch), `{"LaunchTemplateData":{"ImageId":"ami-0123456789abcdef0","InstanceType":"m5.large",
				"MetadataOptions":{"HttpEndpoint":"enabled","HttpPutResponseHopLimit":1,"HttpTokens":"required","InstanceMetadataTags":"enabled"},
				"SecurityGroupIds":["sg-0123456789abcdef0"]},"LaunchTemplateName":"shop"}`},
			{"group", text(t, withoutTagIDs(t, group)), `{"AutoScalingGroupName":"shop","LaunchTemplate":{"LaunchTemplateId":"` + recordedTemplate + `","Version":"` + version + `"},
				"LifecycleHookSpecificationList":[{"DefaultResult":"ABANDON","HeartbeatTimeout":300,"LifecycleHookName":"launch","LifecycleTransition":"autoscaling:EC2_INSTANCE_LAUNCHING"}],
				"MaxSize":4,"MinSize":0,"Tags":[{"Key":"Name","PropagateAtLaunch":true,"Value":"shop"}],
				"VPCZoneIdentifier":"subnet-0123456789abcdef0,subnet-0123456789abcdef1"}`},
			{"warm pool", text(t, made.calls.only("put-warm-pool")), `{"AutoScalingGroupName":"shop","MaxGroupPreparedCapacity":4,"MinSize":2,"PoolState":"Stopped"}`},
		} {
			if diff := cmp.Diff(text(t, json.RawMessage(c.want)), c.got); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", tool.name, c.name, diff)
			}
		}
		if pools := tool.apply(t, nil, nil).calls.all("put-warm-pool"); len(pools) != 0 {
			t.Errorf("%s: by default there is a warm pool: %v", tool.name, pools)
		}
		if made.outputs[tool.templateOutput] != recordedTemplate {
			t.Errorf("%s: the outputs are %v", tool.name, made.outputs)
		}
	}
}

// withoutTagIDs returns a group's parameters without what only one of the tools adds to tags.
func withoutTagIDs(t *testing.T, group map[string]any) any {
	t.Helper()
	plain := asJSON(t, group)
	for _, tag := range plain["Tags"].([]any) {
		delete(tag.(map[string]any), "ResourceId")
		delete(tag.(map[string]any), "ResourceType")
	}
	return plain
}

func asJSON(t *testing.T, v any) (plain map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text(t, v)), &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

// text returns a value as JSON, with sorted keys.
func text(t *testing.T, v any) string {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(encoded, &plain); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.MarshalIndent(plain, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted)
}
