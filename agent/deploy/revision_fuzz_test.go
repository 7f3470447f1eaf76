package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRevision: of whatever lies in a release, only what looks like a revision
// becomes a tag.
func FuzzRevision(f *testing.F) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	f.Add("", "ref: refs/heads/main\n", sha+" refs/heads/main\n", "")
	f.Add(sha+"\n", "", "", "")
	f.Add("", sha, "", "")
	f.Add("", "ref: refs/../../secret", "", "")
	f.Add("", "ref: refs/heads/main", "# pack-refs\n^"+sha+"\n", "..")
	f.Add("<script>", "ref: ", " ", "\x00")
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file, head, packed, common string) {
		for name, text := range map[string]string{"REVISION": file, ".git/HEAD": head, ".git/packed-refs": packed, ".git/commondir": common} {
			path := filepath.Join(dir, name)
			var err error
			if text != "" {
				err = os.WriteFile(path, []byte(text), 0o644)
			} else if err = os.Remove(path); errors.Is(err, os.ErrNotExist) {
				err = nil
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := Revision(dir)
		if strings.Trim(got, "0123456789abcdefABCDEF") != "" || len(got) > 64 {
			t.Fatalf("revision %q", got)
		}
		if got != "" && !strings.Contains(file+head+packed, got) {
			t.Fatalf("revision %q is in none of the files", got)
		}
	})
}
