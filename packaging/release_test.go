//go:build packages

package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRelease: what is released is whole, and two builds of a commit in other directories, and with another umask,
// give the same bytes. With FRESH=yes the second begins with nothing that was compiled before, which takes some
// minutes of a processor.
func TestRelease(t *testing.T) {
	first := release(t, "022", "checkout")
	var env []string
	if os.Getenv("FRESH") == "yes" {
		env = []string{"GOCACHE=" + t.TempDir()}
	}
	second := release(t, "077", "another/directory/with/a/longer/name", env...)
	if diff := cmp.Diff(sums(t, first), sums(t, second)); diff != "" {
		t.Errorf("two builds differ (-first +second):\n%s", diff)
	}
	command(t, "sh", "-ec", "cd '"+first+"'; sha256sum --check --strict --quiet SHA256SUMS; test $(wc -l <SHA256SUMS) = $(($(ls | wc -l) - 1))")

	archive := one(t, first+"/snapsource-*-linux-amd64.tar.gz")
	name := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
	want := []string{
		"", "CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "licenses.gz", "snapsource", "snapsource-warm.service",
		"snapsource.1.gz", "snapsource.service", "snapsource.yaml",
	}
	var got []string
	for _, line := range strings.Fields(command(t, "tar", "-tzf", archive)) {
		got = append(got, strings.TrimPrefix(line, name+"/"))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the archive (-want +got):\n%s", diff)
	}
	root := t.TempDir()
	command(t, "tar", "-C", root, "-xzf", archive)
	version, _, _ := strings.Cut(strings.TrimPrefix(name, "snapsource-"), "-linux-")
	if out := command(t, filepath.Join(root, name, "snapsource"), "version"); !strings.HasPrefix(out, "snapsource "+version+" ") {
		t.Errorf("version says %q, and the archive is called %s", out, name)
	}
	checkBill(t, one(t, first+"/*-linux-amd64.cdx.json"), filepath.Join(root, name, "snapsource"))
}

// checkBill: the bill of materials has each module that the binary is made of.
func checkBill(t *testing.T, file, program string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(data, &bill); err != nil || bill.BOMFormat != "CycloneDX" {
		t.Fatalf("%v, %s", err, bill.BOMFormat)
	}
	listed := map[string]bool{}
	for _, c := range bill.Components {
		listed[c.Name+" "+c.Version] = true
	}
	modules := 0
	for line := range strings.Lines(command(t, goCommand(), "version", "-m", program)) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
			modules++
			if !listed[f[1]+" "+f[2]] {
				t.Errorf("the bill of materials lacks %s %s", f[1], f[2])
			}
		}
	}
	if modules < 10 {
		t.Errorf("the program has %d modules", modules)
	}
}

func goCommand() string {
	if path := os.Getenv("GO"); path != "" {
		return path
	}
	return "go"
}

// release builds one from a clone of the last commit.
func release(t *testing.T, umask, directory string, env ...string) (dist string) {
	t.Helper()
	checkout := filepath.Join(t.TempDir(), directory)
	const build = `umask "$0"; git -c safe.directory='*' clone -q .. "$1"; exec make -C "$1" release ARCHES=amd64`
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", build, umask, checkout)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release: %v\n%s", err, out)
	}
	return filepath.Join(checkout, "dist")
}

// sums are the digests of the files in a directory.
func sums(t *testing.T, dir string) []string {
	t.Helper()
	return strings.Split(command(t, "sh", "-ec", "cd '"+dir+"'; sha256sum *"), "\n")
}
