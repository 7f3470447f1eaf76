package systemd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// host is a system in a directory, and what is said and done to it.
type host struct {
	t *testing.T
	Installation
	said []string
}

// newHost has a systemd that runs: "systemctl enable" makes its link.
func newHost(t *testing.T) *host {
	h := &host{t: t}
	h.Installation = Installation{Root: t.TempDir(), Program: "/opt/bin/snapsource"}
	h.Tell = func(line string) { h.said = append(h.said, strings.ReplaceAll(line, h.Root, "")) }
	h.Control = func(_ context.Context, arguments ...string) error {
		switch arguments[0] {
		case "enable":
			h.put(enabled, "the link")
		case "disable":
			return os.Remove(h.at(enabled))
		}
		return nil
	}
	return h
}

func (h *host) put(path, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.at(path)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.at(path), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// files returns all files, as one text.
func (h *host) files() string {
	h.t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS(h.Root), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(h.at(path))
		all.WriteString("-- " + path + " --\n" + string(text))
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all.String()
}

// told gives what was said since it was asked last.
func (h *host) told() string {
	said := strings.Join(h.said, "\n")
	h.said = nil
	return said
}

func (h *host) install(before ...string) string {
	h.t.Helper()
	if err := h.Install(h.t.Context(), before); err != nil {
		h.t.Fatal(err)
	}
	return h.told()
}

func (h *host) uninstall() string {
	h.t.Helper()
	if err := h.Uninstall(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	return h.told()
}

// golden compares with a file in testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestInstall(t *testing.T) {
	h := newHost(t)
	said := h.install("puma.service", "sidekiq@1.service", "puma.service")
	installed := h.files()
	unit, err := Unit(h.Program)
	if err != nil {
		t.Fatal(err)
	}
	warm, err := WarmUnit(h.Program)
	if err != nil {
		t.Fatal(err)
	}
	// The units themselves are in the repository, as packages have them.
	golden(t, "installed.txt", said+"\n"+strings.NewReplacer(unit, "(the unit)\n", digest(unit), "(its digest)",
		warm, "(the unit that reads)\n", digest(warm), "(its digest)").Replace(installed))
	if said := h.install("puma.service"); said != "nothing to do" || h.files() != installed {
		t.Errorf("the second time:\n%s", said)
	}
	if said := h.install(); said != "nothing to do" || h.files() != installed {
		t.Errorf("without --before what is there stays; got:\n%s", said)
	}
	golden(t, "uninstalled.txt", h.uninstall()+"\n")
	if left := h.files(); left != "" {
		t.Errorf("uninstall left\n%s", left)
	}
	if said := h.uninstall(); said != "nothing to do" {
		t.Errorf("the second time:\n%s", said)
	}
}

// A new version's unit replaces the one that an old version wrote.
func TestInstallReplaces(t *testing.T) {
	h := newHost(t)
	h.install()
	h.Program = "/usr/local/bin/snapsource"
	want := "replaced /" + unitDir + "/" + UnitName + "\nreplaced /" + unitDir + "/" + WarmUnitName + "\nran systemctl daemon-reload"
	if said := h.install(); said != want || !strings.Contains(h.files(), "ExecStart=/usr/local/bin/snapsource up\n") {
		t.Errorf("said %q, and there is\n%s", said, h.files())
	}
}

// The package's unit is used, and stays.
func TestInstallBesidePackage(t *testing.T) {
	for _, dir := range packageDirs {
		h := newHost(t)
		h.put(dir+"/"+UnitName, "the package's")
		if said := h.install("puma.service"); strings.Contains(said, unitDir+"/"+UnitName+"\n") {
			t.Errorf("beside a unit in %s:\n%s", dir, said)
		}
		h.uninstall()
		if left := h.files(); left != "-- "+dir+"/"+UnitName+" --\nthe package's" {
			t.Errorf("uninstall left\n%s", left)
		}
	}
}

// Where systemd does not run, what is left to do is said until it is done.
func TestInstallIntoImage(t *testing.T) {
	h := newHost(t)
	h.Control = nil
	for range 2 {
		if said := h.install(); !strings.HasSuffix(said, "left to do: systemctl --root= enable snapsource.service") {
			t.Errorf("said\n%s", said)
		}
	}
	h.put(enabled, "the link")
	if said := h.install(); said != "nothing to do" {
		t.Errorf("once it is enabled:\n%s", said)
	}
	h.uninstall()
	if left := h.files(); left != "" {
		t.Errorf("uninstall left\n%s", left)
	}
}

// What snapsource did not write, or what was changed since, is neither overwritten nor
// removed, and nothing else is written then.
func TestForeignFiles(t *testing.T) {
	dropInOf := func(unit string) string { return unitDir + "/" + unit + ".d/" + dropIn }
	foreign := map[string]func(*host){
		unitDir + "/" + UnitName: func(h *host) { h.put(unitDir+"/"+UnitName, "[Service]\n") },
		dropInOf("puma.service"): func(h *host) { h.put(dropInOf("puma.service"), "") },
		starts("puma.service").path: func(h *host) {
			h.put(starts("puma.service").path, headerBegin+"0123456789abcdef"+headerEnd+starts("puma.service").text)
		},
		"a mask": func(h *host) {
			h.put("x", "")
			if err := errors.Join(os.Remove(h.at("x")), os.MkdirAll(h.at(unitDir), 0o755), os.Symlink("/dev/null", h.at(unitDir+"/"+UnitName))); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, prepare := range foreign {
		h := newHost(t)
		prepare(h)
		before := h.files()
		if err := h.Install(t.Context(), []string{"puma.service"}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: install says %v", name, err)
		}
		if after := h.files(); after != before {
			t.Errorf("%s: before\n%s\nafter\n%s", name, before, after)
		}
		if err := h.Uninstall(t.Context()); err != nil && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: uninstall says %v", name, err)
		}
		if after := h.files(); after != before {
			t.Errorf("%s: uninstall left\n%s", name, after)
		}
	}

	h := newHost(t)
	h.install("puma.service")
	edited := h.at(dropInOf("puma.service"))
	text, err := os.ReadFile(edited)
	if err != nil {
		t.Fatal(err)
	}
	h.put(dropInOf("puma.service"), string(text)+"Wants=other.service\n")
	if err := h.Uninstall(t.Context()); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), edited) {
		t.Errorf("uninstall of an edited file says %v", err)
	}
	if left := h.files(); !strings.HasPrefix(left, "-- "+dropInOf("puma.service")) || strings.Count(left, "-- ") != 1 {
		t.Errorf("uninstall left\n%s", left)
	}
}

// A name that is no unit's never becomes a path.
func TestNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x.service", "/x.service", "a/b.service", "puma", "puma.conf", ".service", "-.mount",
		"-x.service", "puma.service\n", "a b.service", "a%b.service", "x.service\x00", "puma@.service", "a@b@c.service", UnitName,
		strings.Repeat("a", 250) + ".service"} {
		h := newHost(t)
		if err := h.Install(t.Context(), []string{"puma.service", name}); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if left := h.files(); left != "" {
			t.Errorf("%q: there is\n%s", name, left)
		}
	}
	for _, name := range []string{"puma.service", "puma@app-1.service", "app.target", "a_b-c.d.socket", strings.Repeat("a", 210) + ".service"} {
		h := newHost(t)
		h.install(name)
		h.uninstall()
	}
	for _, program := range []string{"", "snapsource", "/a b", "/a%h/x", "/a/../$x", "/a\n", `/a\x`, "/", "/a/"} {
		h := newHost(t)
		h.Program = program
		if err := h.Install(t.Context(), nil); !errors.Is(err, ErrName) {
			t.Errorf("program %q: %v", program, err)
		}
	}
}

// TestVerify has systemd read what was written: it says nothing when all is well.
func TestVerify(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: systemd-analyze --root")
	}
	h := newHost(t)
	h.Program = "/bin/true"
	for _, target := range []string{"sysinit", "basic", "multi-user", "network-online", "shutdown"} {
		h.put("usr/lib/systemd/system/"+target+".target", "[Unit]\nDefaultDependencies=no\n")
	}
	h.put(unitDir+"/puma.service", "[Service]\nExecStart=/bin/true\n")
	h.put("bin/true", "")
	if err := os.Chmod(h.at("bin/true"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.install("puma.service")
	for _, unit := range []string{UnitName, WarmUnitName, "puma.service"} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--root="+h.Root, unit).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// The mounts must be the host's: nothing may make a mount namespace. (What systemd
// counts: exec_needs_mount_namespace in its source, version 256.)
func TestNoMountNamespace(t *testing.T) {
	for line := range strings.Lines(unit + warmUnit) {
		key, _, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		for _, makes := range []string{"Root", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "Bind",
			"TemporaryFileSystem", "MountImages", "Extension", "MountFlags", "Private", "ProtectSystem", "ProtectHome", "ProtectKernel",
			"ProtectControlGroups", "ProtectProc", "ProcSubset", "IPCNamespacePath", "DynamicUser", "LogNamespace", "ExecStop"} {
			if strings.HasPrefix(key, makes) {
				t.Errorf("%s", line)
			}
		}
	}
}
