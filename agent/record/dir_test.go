package record

import (
	"path/filepath"
	"strings"
	"testing"
)

// A record lies in its directory, whatever its source is called, and no two share one.
func TestRecordFile(t *testing.T) {
	h := Dir(t.TempDir())
	names := []string{"app", "a/b", "a%2Fb", "..", "../../etc/passwd", "a/../b", strings.Repeat("/", 127), strings.Repeat("/", 126) + "a", "a\nb", "a\x00b", ""}
	seen := map[string]string{}
	for _, name := range names {
		file := h.file(name)
		if filepath.Dir(file) != string(h) || len(filepath.Base(file)) > 250 {
			t.Errorf("%q: %s", name, file)
		}
		if other, twice := seen[file]; twice {
			t.Errorf("%q and %q have the same record", name, other)
		}
		seen[file] = name
		if err := h.SaveRecord(Record{Source: name, Volume: "vol-1"}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if r, err := h.LoadRecord(name); err != nil || r.Volume != "vol-1" {
			t.Errorf("%q: %+v, %v", name, r, err)
		}
	}
}
