//go:build linux

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"snapsource/ec2ops/ec2test"
)

// newAccount is an account with a launch template and two snapshots, the newer one last.
func newAccount(t *testing.T, o ec2test.Options) (fake *ec2test.Fake, template string, snapshots [2]string) {
	t.Helper()
	fake = ec2test.New(t, o)
	for i, age := range []time.Duration{2 * time.Hour, time.Hour} {
		snapshots[i] = fake.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-age), Tags: ec2test.Tags{"Name": "codepen-app"}})
	}
	template = fake.AddTemplate("web", ec2test.TemplateData{ImageID: "ami-0123456789abcdef0",
		Mappings: []ec2test.TemplateMapping{{Device: "/dev/sdg", EBS: &ec2test.TemplateEBS{Size: 1}}}})
	atWorkstation(t, fake.EC2URL)
	t.Setenv("AWS_ENDPOINT_URL_AUTO_SCALING", fake.EC2URL)
	return fake, template, snapshots
}

// line is a command line, and how it ends.
type line struct {
	args string
	code int
	says []string
}

func runLines(t *testing.T, lines []line) {
	t.Helper()
	for _, l := range lines {
		code, out, said := say(t, l.args)
		if code != l.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", l.args, code, l.code, out, said)
		}
		contains(t, out+said, l.says...)
	}
}

// TestPublishCommand: what the command says and does, from a release to the roll back.
func TestPublishCommand(t *testing.T) {
	fake, template, snapshots := newAccount(t, ec2test.Options{})
	old, bad := snapshots[0], snapshots[1]
	fake.AddGroup(ec2test.Group{Name: "pinned", Template: "web", TemplateVersion: "1", Mixed: true})
	runLines(t, []line{
		{"publish --launch-template web --dry-run", 0, []string{"web: a new version, made from version 1, would name " + bad + "\n", "  /dev/sdf: " + bad + ", 5 GiB, gp3\n", "  tag snapsource:source: codepen-app\n",
			"  note: the Auto Scaling group pinned uses version 1 of web, by its number"}},
		{"publish --launch-template web --launch-template nosuch", 64, []string{"web: version 2, made from version 1, names " + bad + " and is the default\n", "there is no launch template nosuch in this account and region (us-west-2)"}},
		{"publish --launch-template " + template, 0, []string{"web: version 2, the default, names " + bad + " already\n"}},
		{"publish --launch-template web --device /dev/sdg", 64, []string{"has /dev/sdg for something else: a blank volume of 1 GiB"}},
		{"reject latest --reason bad", 0, []string{bad + " is rejected; a launch now takes " + old, "the launch template web names " + bad + ": run snapsource publish --launch-template web --source codepen-app\n"}},
		{"publish --launch-template web --source codepen-app", 0, []string{"web: version 3, made from version 2, names " + old + " and is the default\n", "  /dev/sdf: no longer " + bad}},
		{"promote " + bad, 0, []string{bad + " is eligible", "the launch template web names " + old + ": run snapsource publish"}},
		{"publish --launch-template web", 0, []string{"web: version 4"}},
		{"reject --publish " + bad, 0, []string{"is rejected; a launch now takes " + old, "web: version 5, made from version 4, names " + old}},
		{"reject --publish " + old + " --launch-template web --allow-none", 69, []string{old + " is rejected; a launch now takes nothing", "no eligible snapshot"}},
	})
	if tags := fake.World().Templates[template].Versions[5].Data.TagSpecs[0].Tags; tags["snapsource:snapshot"] != old || tags["snapsource:instance"] != "" {
		t.Errorf("tags %v", tags)
	}
}

// TestPublishUsage: what is wrong with a command line is said before any call.
func TestPublishUsage(t *testing.T) {
	fake, _, _ := newAccount(t, ec2test.Options{})
	runLines(t, []line{
		{"publish", 64, []string{"name the launch template with --launch-template"}},
		{"publish --launch-template w!", 64, []string{`"w!" is not the name or the id of a launch template`}},
		{"publish --launch-template web --launch-template web", 64, []string{`"web" is given twice`}},
		{"publish --launch-template web --keep-versions 0", 64, []string{"--keep-versions must be 1 or more"}},
		{"publish --launch-template web --device /dev/xvda", 64, []string{`EC2 does not accept "/dev/xvda"`}},
		{"publish --launch-template web --device /dev/sda1", 64, []string{`EC2 does not accept "/dev/sda1"`}},
		{"publish now", 64, []string{`takes no argument "now"`}},
		{"reject latest --launch-template web", 64, []string{"--launch-template needs --publish"}},
		{"snapshot --wait --publish", 64, []string{"--publish needs --launch-template"}},
		{"snapshot --publish --launch-template web", 64, []string{"needs --wait"}},
		{"snapshot --wait --candidate --publish --launch-template web", 64, []string{"not eligible before it is promoted"}},
	})
	if calls := fake.Calls(); len(calls) > 0 {
		t.Errorf("%v", calls)
	}
}

// TestPublishDenied: the missing action is named; without the list of groups, or of all templates, the
// work is done. The fault matrix has the other actions.
func TestPublishDenied(t *testing.T) {
	for action, l := range map[string]line{
		"CreateLaunchTemplateVersion":    {"publish --launch-template web", 77, []string{"to do: allow ec2:CreateLaunchTemplateVersion for these credentials"}},
		"DescribeAutoScalingGroups":      {"publish --launch-template web", 0, []string{"is the default", "is not known, so no old version is deleted: DescribeAutoScalingGroups of the account: "}},
		"DescribeLaunchTemplateVersions": {"reject latest", 0, []string{"is rejected; a launch now takes"}},
	} {
		newAccount(t, ec2test.Options{Faults: []ec2test.Fault{{Effect: ec2test.Fail, Action: action, Code: "UnauthorizedOperation"}}})
		began := time.Now()
		runLines(t, []line{l})
		if took := time.Since(began); l.code == 0 && took > 10*time.Second {
			t.Errorf("%s: took %s", action, took)
		}
	}
}

// TestPublishJSON: the documents are those of the schema.
func TestPublishJSON(t *testing.T) {
	_, template, snapshots := newAccount(t, ec2test.Options{})
	schema := schemaOf(t)
	for _, l := range []line{
		{"publish --launch-template web --dry-run", 0, []string{`"dry_run": true`, `"changed": true`}},
		{"publish --launch-template nosuch --launch-template web", 64, []string{`"template": "nosuch"`, `"template": "` + template + `"`, `"template_version": 2`, `"deleted": []`}},
		{"publish --launch-template web", 0, []string{`"changed": false`}},
		{"publish", 64, []string{`"exit": 64`}},
		{"reject latest", 0, []string{`"only_latest": false`}},
		{"reject " + snapshots[1] + " --publish", 0, []string{`"published": [`, `"changed": true`, `"launch_templates": []`}},
		{"promote " + snapshots[1], 0, []string{`"launch_templates": [`, `"name": "web"`}},
	} {
		code, out, said := say(t, l.args+" --output json")
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil || code != l.code {
			t.Errorf("%s: %d, %v\n%s%s", l.args, code, err, out, said)
		}
		contains(t, out, l.says...)
		for entry := range strings.Lines(said) {
			if !json.Valid([]byte(entry)) {
				t.Errorf("%s: on stderr %s", l.args, entry)
			}
		}
	}
}
