package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// maxSize is the budget of the stripped binary, in bytes.
const maxSize = 12_000_000

func goTool(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestShippedBinary: static, stripped, stamped and within its size, and no code
// reaches methods by a computed name, which would keep the linker from leaving out
// the hundreds of EC2 calls that we don't make (30 MB).
func TestShippedBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads an ELF file")
	}
	bin := t.TempDir()
	file := filepath.Join(bin, "snapsource")
	build := exec.CommandContext(t.Context(), "make", "-C", "../..", "build", "BIN="+bin, "VERSION=1.2.3")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	links := goTool(t, []string{"CGO_ENABLED=0"}, "build", "-buildvcs=false", "-ldflags", "-dumpdep", "-o", os.DevNull, ".")
	if strings.Contains(links, "<ReflectMethod>") {
		t.Error("something reaches reflect's MethodByName with a computed name; see go build -ldflags=-dumpdep")
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxSize {
		t.Errorf("%d bytes, the budget is %d", info.Size(), maxSize)
	}
	binary, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Error("the binary is linked dynamically")
		}
	}
	if binary.Section(".symtab") != nil || binary.Section(".debug_info") != nil {
		t.Error("the binary is not stripped")
	}
	out, err := exec.CommandContext(t.Context(), file, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "snapsource 1.2.3 (go1.") {
		t.Errorf("version says %q, %v", out, err)
	}
}

// TestLayers: cmd uses agent, agent uses ec2ops, mountfs and systemd; those three
// use none of ours, and no test code is in the shipped binary.
func TestLayers(t *testing.T) {
	leaf := []string{}
	allowed := map[string][]string{
		"snapsource/ec2ops":           leaf,
		"snapsource/mountfs":          leaf,
		"snapsource/mountfs/looptest": leaf,
		"snapsource/systemd":          leaf,
		"snapsource/systemd/vmtest":   leaf, // tests
		"snapsource/ec2ops/ec2test":   leaf,
		"snapsource/agent/agenttest":  {"snapsource/agent", "snapsource/ec2ops", "snapsource/ec2ops/ec2test", "snapsource/mountfs"},
		"snapsource/agent":            {"snapsource/ec2ops", "snapsource/mountfs", "snapsource/systemd"},
		"snapsource/cmd/snapsource":   {"snapsource/agent", "snapsource/ec2ops", "snapsource/mountfs", "snapsource/systemd"},
		"snapsource/cmd/ec2sandbox":   {"snapsource/ec2ops/ec2test"},
		"snapsource/packaging":        leaf, // a test of the configuration that packages bring
		"snapsource/packaging/man":    leaf,
	}
	for _, goos := range []string{"linux", "darwin"} {
		list := goTool(t, []string{"GOOS=" + goos}, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "snapsource/...")
		for line := range strings.Lines(list) {
			words := strings.Fields(line)
			may, known := allowed[words[0]]
			if !known {
				t.Errorf("%s: a package without a layer; give it one in this test", words[0])
			}
			for _, imported := range words[1:] {
				if strings.HasPrefix(imported, "snapsource/") && !slices.Contains(may, imported) {
					t.Errorf("%s must not import %s (%s)", words[0], imported, goos)
				}
			}
		}
	}
}
