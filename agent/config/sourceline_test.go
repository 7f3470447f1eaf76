package config

import (
	"strings"
	"testing"
)

// TestSourceLines: an error about sources of the file has their lines, not their names.
func TestSourceLines(t *testing.T) {
	const two = "timeout: 5m\nsources:\n- mount: /a\n  source: first\n  binds: []\n- source: second\n  mount: /b\n  binds: []\n"
	for text, want := range map[string]string{
		two: "the sources at lines 4 and 6 have the same device /dev/sdf",
		strings.ReplaceAll(two, "second", "first"):                                                       "the sources at lines 4 and 6 have the same source …",
		strings.Replace(two, "mount: /b", "mount: /a\n  device: /dev/sdg", 1):                            "the sources at lines 4 and 6 have the same path …",
		strings.Replace(two, "mount: /b", "mount: /a/b\n  device: /dev/sdg", 1):                          "the source at line 6: … lies below … of the source at line 4",
		strings.Replace(two, "mount: /b", "mount: rel", 1):                                               `the source at line 6: mount: "…" is not an absolute path`,
		strings.Replace(two, "source: first", "source: &n first", 1) + "  device: /dev/sdg\n  iops: 1\n": "the source at line 6: iops: 1 is not between",
		"sources:\n- mount: rel\n":                                                                       `the source at line 2: mount: "…" is not`,
		"sources:\n- source: \"a\\\" and \\\"b\"\n":                                                      "the source at line 2: source: the name must be",
	} {
		_, err := Load(write(t, text), nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "first") || strings.Contains(err.Error(), "second") {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
	// The name was given with the command.
	if _, err := Load(write(t, "timeout: 5m\nsources:\n- source: first\n"), nil, map[string][]string{"source": {"mine"}, "iops": {"1"}}); err == nil || strings.Contains(err.Error(), "first") {
		t.Error(err)
	}
}
