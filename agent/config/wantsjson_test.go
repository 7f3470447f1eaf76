package config

import "testing"

func TestFileWantsJSON(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                   false,
		"output: json\n":                     true,
		"output: 'json' # for jq\n":          true,
		"output: text\n":                     false,
		"output: [json]\n":                   false,
		"sources:\n- output: json\n":         false,
		"output: json\nnosuch: x\n":          true,
		"nosuch: {a: b}\noutput: \"json\"":   true,
		"output: json\nmount: 'x\n":          true,
		"mount: 'x\noutput: \"json\"  # y\n": true,
		"output: json\r\nmount: 'x\r\n":      true,
		"output: json\n\tmount: /x\n":        true,
		"output: json\noutput: json\n":       true,
		"mount: 'x\n  output: json\n":        false,
		"mount: 'x\noutput: jsonl\n":         false,
		"mount: 'x\n#output: json\n":         false,
		"- json\n":                           false,
	} {
		if got := FileWantsJSON(write(t, text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	if FileWantsJSON("/nonexistent") || FileWantsJSON("/dev/zero") {
		t.Error("a file that can't be read wants JSON")
	}
}
