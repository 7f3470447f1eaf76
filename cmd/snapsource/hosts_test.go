package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// atWorkstation sets what someone has who calls AWS from outside of it: keys and a
// region, and no metadata service.
func atWorkstation(t *testing.T, endpoint string) {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_EC2": endpoint, "AWS_REGION": "us-west-2", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "AKIA0123456789EXAMPL", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "AWS_DEFAULT_REGION": "",
	} {
		t.Setenv(k, v)
	}
}

type hostsTest struct {
	args   string
	stdout string
	says   []string // on stderr; nothing else may be there if empty
	code   int
}

// hostsTests launches instances and returns tests of the command on them.
func hostsTests(t *testing.T, fake *ec2test.Fake, store ec2test.Store) map[string]hostsTest {
	t.Helper()
	launched := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	launch := func(name, roles, stages string) *ec2test.Host {
		host := fake.LaunchWith(name, ec2test.LaunchOptions{Tags: ec2test.Tags{"Roles": roles, "Stages": stages, "Project": "pens"}})
		launched = launched.Add(time.Second) // as EC2 tells launch times apart
		if err := store.Update(t.Context(), func(w *ec2test.World) error {
			w.Instances[host.ID].Launched = launched
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return host
	}
	web1, web2 := launch("web-1", "app, web", "production"), launch("web-2", "app", "staging , production")
	staging, worker, gone := launch("staging", "app", "staging"), launch("worker", "worker", "production"), launch("gone", "app", "production")
	if err := fake.Server.Terminate(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	production := web1.PrivateIP + "\n" + web2.PrivateIP + "\n"
	return map[string]hostsTest{
		"role":           {"--role app", production + staging.PrivateIP + "\n", nil, 0},
		"stage":          {"--role app --stage production", production, nil, 0},
		"roles":          {"--role web --role worker", web1.PrivateIP + "\n" + worker.PrivateIP + "\n", nil, 0},
		"project":        {"--role worker --project pens", worker.PrivateIP + "\n", nil, 0},
		"filter":         {"--role app --filter tag:Name=web-*", production, nil, 0},
		"address":        {"--role worker --address instance-id", worker.ID + "\n", nil, 0},
		"no public one":  {"--role worker --address public-dns", worker.PrivateIP + "\n", nil, 0},
		"nobody":         {"--role app --stage test --project pens", "", []string{"in us-west-2 has role app, stage test, project pens", "--explain"}, 75},
		"nobody allowed": {"--role app --stage test --allow-empty", "", nil, 0},
		"other project":  {"--role app --project pen?", "", []string{"project pen?"}, 75},
		"explain": {"--role app --stage production --explain", production, []string{
			staging.ID + " staging: other stage: staging", worker.ID + " worker: other role: worker", gone.ID + " gone: not running: "}, 0},
		"no role":        {"", "", []string{"--role app"}, 64},
		"bad output":     {"--role app --output yaml", "", []string{`"yaml"`}, 64},
		"an argument":    {"app", "", []string{`no argument "app"`}, 64},
		"unknown filter": {"--role app --filter colour=red", "", []string{"'colour' is invalid"}, 64},
		"verbose":        {"--role worker -v", worker.PrivateIP + "\n", []string{"DescribeInstances"}, 0},
	}
}

// TestHosts: the listed instances, their form, and the exit code.
func TestHosts(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	for name, tc := range hostsTests(t, fake, store) {
		t.Run(name, func(t *testing.T) {
			atWorkstation(t, fake.EC2URL)
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), host{}, append([]string{"hosts"}, strings.Fields(tc.args)...), &stdout, &stderr)
			if code != tc.code || stdout.String() != tc.stdout {
				t.Errorf("exit code %d and\n%swant %d and\n%s", code, &stdout, tc.code, tc.stdout)
			}
			for _, want := range tc.says {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr lacks %q:\n%s", want, &stderr)
				}
			}
			if len(tc.says) == 0 && stderr.Len() > 0 {
				t.Errorf("stderr says\n%s", &stderr)
			}
		})
	}
	calls, err := fake.Server.Calls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if c.Action != "DescribeInstances" {
			t.Errorf("it called %s", c.Action)
		}
	}
}

// TestHostsJSON: a list of objects, also when it is empty.
func TestHostsJSON(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	web := fake.LaunchWith("web-1", ec2test.LaunchOptions{Tags: ec2test.Tags{"Roles": "app, web", "Project": "pens"}})
	atWorkstation(t, fake.EC2URL)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), host{}, strings.Fields("hosts --role app --output json"), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &stderr)
	}
	launched, err := web.Launched.UTC().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":1,"command":"hosts","error":null,"region":"us-west-2","hosts":[{"instance":"` + web.ID + `","name":"web-1","address":"` + web.PrivateIP + `","addresses":{"instance-id":"` + web.ID +
		`","private-dns":"ip-` + strings.ReplaceAll(web.PrivateIP, ".", "-") + `.us-west-2.compute.internal","private-ip":"` + web.PrivateIP +
		`"},"roles":["app","web"],"stages":[],"project":"pens","launched":"` + string(launched[:len("2006-01-02T15:04:05")])
	var got bytes.Buffer
	if err := json.Compact(&got, stdout.Bytes()); err != nil || !strings.HasPrefix(got.String(), want) {
		t.Errorf("got (%v)\n%s\nwant\n%s…", err, &got, want)
	}

	stdout.Reset()
	stderr.Reset()
	if code := run(t.Context(), host{}, strings.Fields("hosts --role db --output json --allow-empty"), &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), `"hosts": []`) {
		t.Errorf("empty: exit code %d and %q, want 0 and []", code, &stdout)
	}
	stdout.Reset()
	if code := run(t.Context(), host{}, strings.Fields("hosts --role db --output json --explain"), &stdout, &stderr); code != 75 || !strings.Contains(stdout.String(), `"exit": 75`) {
		t.Errorf("nobody: exit code %d and %q, want 75", code, &stdout)
	}
	var reasons []string
	for line := range strings.Lines(stderr.String()) {
		var entry struct {
			Reason string `json:"reason"`
			Code   int    `json:"exit_code"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("stderr has a line that is no JSON: %s", line)
		}
		if entry.Reason != "" {
			reasons = append(reasons, entry.Reason)
		}
	}
	if len(reasons) != 1 || reasons[0] != "other role: app,web" || !strings.Contains(stderr.String(), `"exit_code":75`) {
		t.Errorf("stderr says\n%s", &stderr)
	}
}

// TestHostsForAnsible: the inventory has groups by role, stage and project, and each host's
// variables.
func TestHostsForAnsible(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	web := fake.LaunchWith("web-1", ec2test.LaunchOptions{Tags: ec2test.Tags{"Roles": "app, web-front", "Stages": "production", "Project": "pens"}})
	worker := fake.LaunchWith("worker-1", ec2test.LaunchOptions{Tags: ec2test.Tags{"Roles": "app"}})
	fake.LaunchWith("nobody", ec2test.LaunchOptions{})
	atWorkstation(t, fake.EC2URL)
	for _, line := range []string{"hosts --list", "hosts --output ansible"} {
		code, out, said := say(t, line)
		var got struct {
			App     ansibleGroup `json:"role_app"`
			Web     ansibleGroup `json:"role_web_front"`
			Stage   ansibleGroup `json:"stage_production"`
			Project ansibleGroup `json:"project_pens"`
			Meta    struct {
				Variables map[string]map[string]any `json:"hostvars"`
			} `json:"_meta"`
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s%s", line, code, err, out, said)
		}
		variables := got.Meta.Variables
		if len(got.App.Hosts) != 2 || len(got.Web.Hosts) != 1 || got.Stage.Hosts[0] != web.ID || got.Project.Hosts[0] != web.ID || len(variables) != 2 ||
			variables[worker.ID]["ansible_host"] != worker.PrivateIP || variables[web.ID]["snapsource_name"] != "web-1" {
			t.Errorf("%s:\n%s", line, out)
		}
	}
	if _, out, _ := say(t, "hosts --list --role web-front"); strings.Contains(out, worker.ID) {
		t.Errorf("with a role:\n%s", out)
	}
	if code, out, _ := say(t, "hosts --host "+web.ID); code != 0 || !strings.Contains(out, `"ansible_host": "`+web.PrivateIP+`"`) || strings.Contains(out, "_meta") {
		t.Errorf("a host: exit code %d\n%s", code, out)
	}
	if code, out, _ := say(t, "hosts --host unknown"); code != 0 || out != "{}\n" {
		t.Errorf("an unknown host: exit code %d\n%s", code, out)
	}
	if code, out, said := say(t, "hosts --list --project none"); code != 75 || out != "" || !strings.Contains(said, "has a role, project none") {
		t.Errorf("none: exit code %d\n%s%s", code, out, said)
	}
}

// TestHostsConfiguration: the keys of the tags come from flags, the environment and the file.
func TestHostsConfiguration(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	web := fake.LaunchWith("web-1", ec2test.LaunchOptions{Tags: ec2test.Tags{"FileRoles": "app", "EnvRoles": "web", "FlagRoles": "db", "Where": "production"}})
	atWorkstation(t, fake.EC2URL)
	file := filepath.Join(t.TempDir(), "snapsource.yaml")
	if err := os.WriteFile(file, []byte("roles-tag: FileRoles\nstages-tag: Where\nroles: [other]\nsources:\n- {source: a, mount: /a, binds: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(line string) {
		t.Helper()
		if code, out, said := say(t, "hosts --config "+file+" --stage production "+line); code != 0 || out != web.PrivateIP+"\n" {
			t.Errorf("%s: exit code %d\n%s%s", line, code, out, said)
		}
	}
	check("--role app")
	t.Setenv("SNAPSOURCE_ROLES_TAG", "EnvRoles")
	check("--role web")
	check("--role db --roles-tag FlagRoles")
}

// TestHostsWithoutSettings: a missing region and missing credentials give different errors.
func TestHostsWithoutSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		unset []string
		code  int
		says  string
	}{
		"no region":      {[]string{"AWS_REGION"}, 64, "no AWS region is configured: set AWS_REGION"},
		"no credentials": {[]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, 77, "AWS_PROFILE"},
	} {
		t.Run(name, func(t *testing.T) {
			atWorkstation(t, ec2test.New(t, ec2test.Options{}).EC2URL)
			for _, k := range tc.unset {
				t.Setenv(k, "")
			}
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), host{}, []string{"hosts", "--role", "app"}, &stdout, &stderr)
			if code != tc.code || !strings.Contains(stderr.String(), tc.says) || stdout.Len() > 0 {
				t.Errorf("exit code %d and\n%s%swant %d and %q", code, &stdout, &stderr, tc.code, tc.says)
			}
		})
	}
}
