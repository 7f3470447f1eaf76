package packaging

import (
	"os"
	"strings"
	"testing"

	"snapsource/agent/failure"
)

// TestReportTo: bugs are reported to the same address everywhere.
func TestReportTo(t *testing.T) {
	for _, file := range []string{"nfpm.yaml", "build", "man/main.go", "../docs/errors.md", "../SECURITY.md"} {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), failure.ReportTo) {
			t.Errorf("%s lacks %s (%v)", file, failure.ReportTo, err)
		}
	}
}
