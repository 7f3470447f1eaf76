//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
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

// TestDocuments: whatever a command prints with --output json is one document of the schema, of
// that command, also after an error of any kind.
func TestDocuments(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t)
	s := newSandbox(t)
	s.documents(schema, "web-1", `
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
`)
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
`)
	s.documents(schema, "web-3", `
snapsource up # denied 77
snapsource prune --keep 1 # null 0
`, "--deny=CreateVolume")
}

func TestWantsJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		args, environ []string
		want          bool
	}{
		"nothing":            {nil, nil, false},
		"a flag":             {[]string{"up", "--output", "json"}, nil, true},
		"with =":             {[]string{"up", "--output=json", "--sise", "3"}, nil, true},
		"the environment":    {[]string{"up"}, []string{"SNAPSOURCE_OUTPUT=json"}, true},
		"the flag wins":      {[]string{"up", "--output=text"}, []string{"SNAPSOURCE_OUTPUT=json"}, false},
		"the last one":       {[]string{"up", "--output=text", "--output", "json"}, nil, true},
		"a flag at the end":  {[]string{"up", "--output"}, nil, false},
		"another setting":    {[]string{"up"}, []string{"SNAPSOURCE_OUTPUTS=json"}, false},
		"another flag's end": {[]string{"up", "--my-output=json"}, nil, false},
	} {
		if got := wantsJSON(tc.args, tc.environ); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
