package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snapsource/agent/config"
)

func load(t *testing.T, text string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "snapsource.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// TestConfigFile: the file as it comes changes nothing; without its first # it says
// the defaults, and all keys there are.
func TestConfigFile(t *testing.T) {
	text, err := os.ReadFile("snapsource.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asDefaults := func(what, text string) {
		if diff := cmp.Diff(config.DefaultConfig(), load(t, text), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-default +file):\n%s", what, diff)
		}
	}
	asDefaults("as it comes", string(text))
	uncommented := regexp.MustCompile(`(?m)^#`).ReplaceAllString(string(text), "")
	asDefaults("without the first #", uncommented)
	// And the examples, which are behind a second one.
	whole := regexp.MustCompile(`(?m)^#(    )`).ReplaceAllString(uncommented, "$1")
	whole = strings.Replace(whole, "encrypted: false", "encrypted: true", 1) // kms-key needs it
	load(t, whole)

	for _, s := range config.Settings() {
		indent := ""
		if s.OfSource {
			indent = "  [ -] "
		}
		if n := len(regexp.MustCompile("(?m)^"+indent+s.FileKey+": ").FindAllString(whole, -1)); n != 1 {
			t.Errorf("%s stands there %d times", s.FileKey, n)
		}
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("not commented out: %s", line)
		}
	}
}
