package record

import (
	"fmt"
	"os"
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

// TestFormat: a record of a later format is named as such, whatever it has; one from before there were formats is read.
func TestFormat(t *testing.T) {
	h := Dir(t.TempDir())
	for text, known := range map[string]bool{
		`{"source":"app","volume":"vol-1"}`:                        true,
		`{"format":1,"source":"app","volume":"vol-1","more":true}`: true,
		`{"format":2,"source":"app","volume":"vol-1"}`:             false,
		`{"format":2,"source":"app","volume":{"id":"vol-1"}}`:      false,
	} {
		if err := os.WriteFile(h.file("app"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := h.LoadRecord("app")
		if known != (err == nil) || known != (r.Volume == "vol-1") || !known && !strings.Contains(fmt.Sprint(err), "app.json has format 2, and this version of snapsource knows 1") {
			t.Errorf("%s: %+v, %v", text, r, err)
		}
		if (len(h.Records()) == 1) != known {
			t.Errorf("%s: %d records", text, len(h.Records()))
		}
	}
	if err := h.SaveRecord(Record{Source: "app"}); err != nil {
		t.Fatal(err)
	}
	if r, err := h.LoadRecord("app"); err != nil || r.Format != Format {
		t.Errorf("%+v, %v", r, err)
	}
}
