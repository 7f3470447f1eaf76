package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// maxSize is the budget of the stripped binary, in bytes; maxDownload that of what is
// downloaded, compressed by gzip -9.
const (
	maxSize     = 12_000_000
	maxDownload = 4_500_000
)

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
	// The linker lists what it links, and why. The flags are those of make build, so that only
	// the main package is compiled once more; with the same flags for it too, the go command
	// would repeat this list whenever make build finds the program unchanged.
	links := goTool(t, []string{"CGO_ENABLED=0"}, "build", "-buildvcs=false", "-trimpath", "-gcflags=all=-l",
		"-gcflags=snapsource/cmd/snapsource=-l -c=1", "-tags", "nethttpomithttp2",
		"-ldflags", "-dumpdep", "-o", filepath.Join(bin, "dumped"), ".")
	if !strings.Contains(links, "main.main -> ") {
		t.Error("the linker lists nothing")
	}
	if strings.Contains(links, "<ReflectMethod>") {
		t.Error("something reaches reflect's MethodByName with a computed name; see go build -ldflags=-dumpdep")
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	compressed := gzipped(t, file)
	t.Logf("%d bytes, %d compressed", info.Size(), compressed)
	if info.Size() > maxSize || compressed > maxDownload {
		t.Errorf("%d bytes, %d compressed; the budgets are %d and %d", info.Size(), compressed, maxSize, maxDownload)
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

// banned are packages that must not get into the program by any way: code that keeps the
// linker from leaving out what we don't use, profilers, tests. (cobra does import
// text/template, which is as bad; that it is not reached is for TestShippedBinary.)
var banned = []string{"html/template", "net/http/pprof", "expvar", "plugin", "encoding/gob", "go/ast", "testing", "net/http/httptest"}

// TestBannedImports: none of them is imported, on any system.
func TestBannedImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		deps := strings.Fields(goTool(t, []string{"GOOS=" + goos, "CGO_ENABLED=0"}, "list", "-deps", "-tags", "nethttpomithttp2", "."))
		if len(deps) < 100 {
			t.Fatalf("only %d packages", len(deps))
		}
		for _, path := range banned {
			if slices.Contains(deps, path) {
				t.Errorf("%s: %s is imported; go list -deps finds by whom", goos, path)
			}
		}
	}
}

// TestLayers: cmd uses agent and its rooms, these use ec2ops and mountfs, which use none of
// ours; no test code is in the shipped binary. Imports of rooms go upwards in this list.
func TestLayers(t *testing.T) {
	const ec2ops, mountfs = "snapsource/ec2ops", "snapsource/mountfs"
	leaf := []string{}
	rooms := func(names ...string) (paths []string) {
		for _, name := range names {
			paths = append(paths, "snapsource/agent/"+name)
		}
		return paths
	}
	allowed := map[string][]string{
		"snapsource/ec2ops":             leaf,
		"snapsource/mountfs":            leaf,
		"snapsource/mountfs/looptest":   leaf,
		"snapsource/systemd":            leaf,
		"snapsource/systemd/vmtest":     leaf, // tests
		"snapsource/ec2ops/ec2test":     {"snapsource/ec2ops/ec2test/iam"},
		"snapsource/ec2ops/ec2test/iam": leaf,
		"snapsource/agent/admission":    {ec2ops},
		"snapsource/agent/failure":      {ec2ops, mountfs},
		"snapsource/agent/hotset":       {mountfs},
		"snapsource/agent/config":       {"snapsource/agent/failure", ec2ops, mountfs},
		"snapsource/agent/record":       {"snapsource/agent/config", "snapsource/agent/failure", mountfs},
		"snapsource/agent/report":       {"snapsource/agent/config", "snapsource/agent/failure", "snapsource/agent/record", ec2ops},
		"snapsource/agent/permissions":  {"snapsource/agent/config"},
		"snapsource/agent/inventory":    {"snapsource/agent/config", "snapsource/agent/failure", ec2ops},
		"snapsource/agent/releases":     {"snapsource/agent/config", "snapsource/agent/failure", "snapsource/agent/record", ec2ops},
		"snapsource/agent/publish":      {"snapsource/agent/config", "snapsource/agent/failure", "snapsource/agent/releases", ec2ops},
		"snapsource/agent/launchhook":   {"snapsource/agent/failure", "snapsource/agent/record", ec2ops},
		"snapsource/agent/roles":        {"snapsource/agent/config", "snapsource/agent/record", "snapsource/agent/report", ec2ops, mountfs},
		"snapsource/agent/deploy":       append(rooms("config", "failure", "hotset", "publish", "record", "releases", "report"), ec2ops, mountfs),
		"snapsource/agent/warm":         append(rooms("config", "failure", "hotset", "record", "report"), mountfs),
		"snapsource/agent":              append(rooms("admission", "config", "deploy", "failure", "launchhook", "record", "releases", "report", "roles", "warm"), ec2ops, mountfs),
		"snapsource/agent/agenttest":    append(rooms("config", "deploy", "hotset", "record", "releases", "report"), "snapsource/agent", ec2ops, "snapsource/ec2ops/ec2test", mountfs),
		"snapsource/cmd/snapsource":     append(rooms("config", "deploy", "failure", "inventory", "permissions", "publish", "record", "releases", "report", "warm"), "snapsource/agent", ec2ops, mountfs, "snapsource/systemd"),
		"snapsource/cmd/ec2sandbox":     {"snapsource/ec2ops/ec2test", "snapsource/ec2ops/ec2test/iam"},
		"snapsource/examples":           leaf, // tests
		"snapsource/packaging":          leaf, // a test of the configuration that packages bring
		"snapsource/packaging/man":      leaf,
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

// gzipped is the size of a file that is compressed as far as gzip does.
func gzipped(t *testing.T, file string) int64 {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return int64(out.Len())
}
