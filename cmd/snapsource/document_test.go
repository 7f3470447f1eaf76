//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// schemaOf compiles the schema of the documents.
func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile("../../docs/output.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// documents runs commands on an instance and validates the document of each. A line is a command
// line, and its error's code and exit code.
func (s *sandbox) documents(schema *jsonschema.Schema, instance, lines string, flags ...string) (documents []map[string]any) {
	s.t.Helper()
	var script strings.Builder
	script.WriteString("export SNAPSOURCE_ROLE=app\n")
	var commands [][2]string
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		command, want, _ := strings.Cut(strings.TrimSpace(line), " # ")
		commands = append(commands, [2]string{command, want})
		fmt.Fprintf(&script, "%s --output json 2>/dev/null </dev/null; printf '\\0%%s\\0' $?\n", command)
	}
	out, _ := s.try(instance, script.String(), flags...)
	fields := strings.Split(out, "\x00")
	for i, command := range commands {
		if 2*i+1 >= len(fields) {
			s.t.Fatalf("%s: no output; all: %s", command[0], out)
		}
		document := s.document(schema, command[0], fields[2*i])
		got := "null 0"
		if e, failed := document["error"].(map[string]any); failed {
			got = fmt.Sprint(e["code"], " ", e["exit"])
		}
		if want, code := command[1], fields[2*i+1]; got != want || code != want[strings.Index(want, " ")+1:] {
			s.t.Errorf("%s: error %s, exit code %s; want %s\n%s", command[0], got, code, want, fields[2*i])
		}
		documents = append(documents, document)
	}
	return documents
}

// document validates a document and decodes it.
func (s *sandbox) document(schema *jsonschema.Schema, command, text string) (document map[string]any) {
	s.t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil {
		err = schema.Validate(value)
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &document)
	}
	if err != nil {
		s.t.Errorf("%s: %v\n%s", command, err, text)
	}
	return document
}

// firstInstance is what is run where there is no snapshot yet.
const firstInstance = `
snapsource status # not_ready 1
snapsource status --local # not_ready 1
snapsource plan --if-none blank # null 0
snapsource up --timeout 1s # temporary 75
snapsource up --size none # usage 64
snapsource up --sise 20 # usage 64
snapsource up --config /nonexistent # usage 64
snapsource nosuch # usage 64
snapsource hosts # usage 64
snapsource hosts --role app # temporary 75
snapsource hosts --role app --allow-empty # null 0
snapsource snapshots # null 0
snapsource reject latest # no_eligible_snapshot 69
snapsource reject snap-0123 # usage 64
snapsource snapshot # temporary 75
snapsource init # null 0
snapsource init # null 0
snapsource status --remote # null 0
snapsource plan # null 0
snapsource snapshot --wait # null 0
snapsource snapshot --wait --candidate # null 0
snapsource snapshots # null 0
snapsource hosts --role app # null 0
snapsource prune --dry-run # null 0
snapsource version # null 0
AWS_ENDPOINT_URL_EC2=http://127.0.0.1:1 snapsource snapshots --timeout 2s # temporary 75
`

// TestDocuments: whatever a command prints with --output json is one document of the schema, of
// that command, also after an error of any kind.
func TestDocuments(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t)
	s := newSandbox(t)
	s.documents(schema, "web-1", firstInstance)
	documents := s.documents(schema, "web-2", `
snapsource up # null 0
snapsource up --timeline # null 0
snapsource snapshot --wait # null 0
snapsource reject latest # null 0
snapsource reject latest # usage 64
snapsource status --remote # null 0
snapsource up --size 20 # null 0
snapsource prune --keep 1 # null 0
snapsource down --delete # null 0
snapsource status # not_ready 1
AWS_ENDPOINT_URL_EC2=http://127.0.0.1:1 snapsource status --timeout 2s # unknown 2
`)
	if len(documents) > 3 {
		source := func(n int) map[string]any { return documents[n]["sources"].([]any)[0].(map[string]any) }
		if taken := source(2)["taken"].(map[string]any); source(2)["snapshot"] != taken["snapshot"] || source(2)["snapshot"] == source(0)["snapshot"] {
			t.Errorf("after snapshot: snapshot %v, taken %v", source(2)["snapshot"], taken["snapshot"])
		}
		if documents[3]["snapshot"] != source(2)["snapshot"] || documents[3]["next"] != source(0)["snapshot"] {
			t.Errorf("reject: %v", documents[3])
		}
	}
	id := documents[3]["snapshot"].(string)
	s.documents(schema, "web-2", `
snapsource reject `+id+` # null 0
snapsource promote `+id+` # null 0
snapsource promote `+id+` # null 0
snapsource copy --to-region eu-west-1 --wait # null 0
snapsource copy --to-region eu-west-1 # null 0
snapsource snapshots --region eu-west-1 # null 0
snapsource copy # usage 64
`)
	s.documents(schema, "eu-1", "snapsource up # null 0\nsnapsource status # null 0\nsnapsource copy --to-region us-west-2 # null 0", "--region=eu-west-1")
	s.documents(schema, "web-3", `
snapsource up # denied 77
snapsource prune --keep 1 # null 0
`, "--deny=CreateVolume")
}

func TestWantsJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "json.yaml")
	if err := os.WriteFile(file, []byte("output: json\nnosuch: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		command       string
		args, environ []string
		want          bool
	}{
		"nothing":                  {"up", nil, nil, false},
		"a flag":                   {"up", []string{"--output", "json"}, nil, true},
		"with =":                   {"up", []string{"--output=json", "--sise", "3"}, nil, true},
		"the environment":          {"up", nil, []string{"SNAPSOURCE_OUTPUT=json"}, true},
		"the flag wins":            {"up", []string{"--output=text"}, []string{"SNAPSOURCE_OUTPUT=json"}, false},
		"the last one":             {"up", []string{"--output=text", "--output", "json"}, nil, true},
		"a flag at the end":        {"up", []string{"--output"}, nil, false},
		"after the flags":          {"up", []string{"--", "--output=json"}, nil, false},
		"another setting":          {"up", nil, []string{"SNAPSOURCE_OUTPUTS=json"}, false},
		"another flag's end":       {"up", []string{"--my-output=json"}, nil, false},
		"a file":                   {"up", []string{"--config", file}, nil, true},
		"a file by variable":       {"hosts", nil, []string{"SNAPSOURCE_CONFIG=" + file}, true},
		"an empty variable":        {"hosts", nil, []string{"SNAPSOURCE_OUTPUT=", "SNAPSOURCE_CONFIG=" + file}, true},
		"the variable wins":        {"up", []string{"--config=" + file}, []string{"SNAPSOURCE_OUTPUT=text"}, false},
		"an id":                    {"snapshot", []string{"--config=" + file, "--output=id"}, nil, false},
		"no command":               {"", nil, []string{"SNAPSOURCE_CONFIG=" + file}, true},
		"a command without files":  {"version", nil, []string{"SNAPSOURCE_CONFIG=" + file}, false},
		"its variable":             {"version", nil, []string{"SNAPSOURCE_OUTPUT=json"}, true},
		"a command of text only":   {"install", nil, []string{"SNAPSOURCE_OUTPUT=json"}, false},
		"which is asked for other": {"install", []string{"--output=json"}, nil, true},
	} {
		p := &program{}
		c, _, err := rootCommand(p).Find(strings.Fields(tc.command))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.wantsJSON(c, tc.args, tc.environ); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// configuration writes a file and returns its name.
func configuration(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestDocumentByFile: where the file or the environment asks for JSON there is always a document,
// and its exit code is the program's.
func TestDocumentByFile(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	fake.LaunchWith("web-1", ec2test.LaunchOptions{Tags: ec2test.Tags{"Roles": "app"}})
	atWorkstation(t, fake.EC2URL)
	schema := schemaOf(t)
	valid := configuration(t, "valid.yaml", "output: json\n")
	two := configuration(t, "two.yaml", "output: json\nsources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /b, binds: []}\n")
	unknown := configuration(t, "unknown.yaml", "output: json\nhunter2: x\n")
	broken := configuration(t, "broken.yaml", "output: json\nmount: 'hunter2\n")
	check := func(line string, code int) {
		t.Helper()
		got, out, said := say(t, line)
		var document struct{ Error *report.Problem }
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
		if err == nil {
			err = errors.Join(schema.Validate(value), json.Unmarshal([]byte(out), &document))
		}
		exit := 0
		if document.Error != nil {
			exit = document.Error.Exit
		}
		if err != nil || got != code || exit != code || strings.Contains(out+said, "hunter2") {
			t.Errorf("%s: exit code %d, want %d; in the document %d; %v\n%s%s", line, got, code, exit, err, out, said)
		}
	}
	for line, code := range map[string]int{
		"snapshots --config " + two: 64, "reject latest --config " + two: 64, "prune --config " + two: 64, "up --mount /x --config " + two: 64,
		"reject --config " + valid: 64, "snapshots --config " + valid: 0, "snapshots --sise 3 --config " + valid: 64, "status now --config " + valid: 64,
		"prune --keep 0 --config " + valid: 64, "hosts --config " + valid: 64,
		"hosts --role app --config " + valid: 0, "hosts --role zzz --config " + valid: 75, "hosts --role app --config " + unknown: 64,
	} {
		check(line, code)
	}
	for _, command := range []string{"status", "up", "snapshots", "reject latest", "promote snap-01234567890abcdef", "prune", "plan", "down", "snapshot"} {
		check(command+" --config "+unknown, 64)
		check(command+" --config "+broken, 64)
	}
	t.Setenv("SNAPSOURCE_CONFIG", valid)
	if _, out, _ := say(t, "hosts --list"); !strings.Contains(out, "_meta") {
		t.Errorf("an inventory for Ansible is\n%s", out)
	}
	if code, out, said := say(t, "hosts --list --region us_west"); code != 64 || out != "" {
		t.Errorf("a failed inventory: %d\n%s%s", code, out, said)
	}
	if _, out, _ := say(t, "hosts --role app --output text"); strings.Contains(out, "{") {
		t.Errorf("the flag does not win:\n%s", out)
	}
	t.Setenv("SNAPSOURCE_CONFIG", "")
	t.Setenv("SNAPSOURCE_OUTPUT", "json")
	for line, code := range map[string]int{"version": 0, "version now": 64, "hosts --role app": 0, "hosts --role zzz": 75, "snapshots": 0, "nosuch": 64} {
		check(line, code)
	}
	if _, out, _ := say(t, "version --output text"); strings.Contains(out, "{") {
		t.Errorf("the flag does not win:\n%s", out)
	}
}
