package systemd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (h *host) link(target, path string) {
	h.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(h.at(path)), 0o755), os.Symlink(target, h.at(path))); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) chmod(path string, mode fs.FileMode) {
	h.t.Helper()
	if err := os.Chmod(h.at(path), mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) chown(path string, uid int) {
	h.t.Helper()
	if err := os.Chown(h.at(path), uid, 0); err != nil {
		h.t.Fatal(err)
	}
}

// TestProgramIsRootsAlone: a unit runs no program as root that others can write to, or
// replace. Nothing is written then.
func TestProgramIsRootsAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: files of others")
	}
	for name, tc := range map[string]struct {
		prepare func(*host)
		says    string // "" is fine
	}{
		"root's":                       {func(*host) {}, ""},
		"not there yet":                {func(h *host) { os.Remove(h.at(h.Program)) }, ""},
		"writable by all":              {func(h *host) { h.chmod("opt/bin/snapsource", 0o757) }, "/opt/bin/snapsource: its mode is 0757"},
		"writable by a group":          {func(h *host) { h.chmod("opt/bin/snapsource", 0o775) }, "its mode is 0775"},
		"another's":                    {func(h *host) { h.chown("opt/bin/snapsource", 4711) }, "its owner is user 4711"},
		"directory writable by all":    {func(h *host) { h.chmod("opt/bin", 0o777) }, "/opt/bin: its mode is 0777"},
		"sticky directory":             {func(h *host) { h.chmod("opt", 0o777|fs.ModeSticky) }, "/opt: its mode is 1777"},
		"directory of a group":         {func(h *host) { h.chmod("opt", 0o775|fs.ModeSetgid) }, "/opt: its mode is 2775"},
		"another's directory":          {func(h *host) { h.chown("opt", 4711) }, "/opt: its owner is user 4711"},
		"the root itself":              {func(h *host) { h.chmod(".", 0o777) }, ": its mode is 0777"},
		"missing, directory of others": {func(h *host) { os.Remove(h.at(h.Program)); h.chown("opt/bin", 4711) }, "/opt/bin: its owner is user 4711"},
		"link to another's directory": {func(h *host) {
			h.put("home/deploy/bin/snapsource", "")
			h.chown("home/deploy", 4711)
			h.link("../home/deploy/bin", "opt/sbin")
			h.Program = "/opt/sbin/snapsource"
		}, "/home/deploy: its owner is user 4711"},
		"absolute link to another's directory": {func(h *host) {
			h.put("home/deploy/bin/snapsource", "")
			h.chown("home/deploy", 4711)
			h.link("/home/deploy/bin", "opt/sbin")
			h.Program = "/opt/sbin/snapsource"
		}, "/home/deploy: its owner is user 4711"},
		"dots behind a link": {func(h *host) {
			h.put("home/deploy/x/snapsource", "")
			h.put("home/deploy/bin/file", "")
			h.chown("home/deploy", 4711)
			h.link("/home/deploy/bin", "opt/link")
			h.link("link/../x", "opt/sbin")
			h.Program = "/opt/sbin/snapsource"
		}, "/home/deploy: its owner is user 4711"},
		"link in the path": {func(h *host) { h.link("bin", "opt/sbin"); h.Program = "/opt/sbin/snapsource" }, ""},
		"loop":             {func(h *host) { h.link("sbin", "opt/sbin"); h.Program = "/opt/sbin/snapsource" }, "too many links"},
	} {
		h := newHost(t)
		h.put("opt/bin/snapsource", "")
		tc.prepare(h)
		err := h.Install(t.Context(), []string{"puma.service"})
		if tc.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v; want %q", name, err, tc.says)
		}
		if _, err := os.Lstat(h.at("etc")); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
}

// TestPackagedProgram: the package's unit runs the package's program, whoever calls.
func TestPackagedProgram(t *testing.T) {
	h := newHost(t)
	h.put("opt/bin/snapsource", "")
	h.chmod("opt/bin", 0o777)
	h.put(packageDirs[0]+"/"+UnitName, "the package's")
	h.install("puma.service")
}

// TestRootIsNotLeft: links in the tree of an image lead nowhere outside of it.
func TestRootIsNotLeft(t *testing.T) {
	const ours = "etc/systemd/system/" + UnitName
	for name, link := range map[string]string{
		"the directory of units": "etc/systemd/system", "etc": "etc", "a drop-in's directory": unitDir + "/puma.service.d",
		"the package's directory": "usr/lib/systemd", "the unit": ours, "what enables it": "etc/systemd/system/multi-user.target.wants",
	} {
		for _, kind := range []string{"absolute", "relative"} {
			h := newHost(t)
			outside := t.TempDir()
			target := outside
			if link == ours {
				target = filepath.Join(outside, "file")
				if err := os.WriteFile(target, []byte("theirs"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if kind == "relative" {
				rel, err := filepath.Rel(filepath.Dir(h.at(link)), target)
				if err != nil {
					t.Fatal(err)
				}
				target = rel
			}
			h.Control = nil
			h.link(target, link)
			if err := h.Install(t.Context(), []string{"puma.service"}); err == nil {
				t.Errorf("%s, %s: installed", name, kind)
			}
			_ = h.Uninstall(t.Context()) // it may refuse
			files, err := os.ReadDir(outside)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if text, err := os.ReadFile(filepath.Join(outside, f.Name())); err != nil || string(text) != "theirs" {
					t.Errorf("%s, %s: outside is %s: %q, %v", name, kind, f.Name(), text, err)
				}
			}
			if strings.Contains(target, "file") && len(files) != 1 {
				t.Errorf("%s, %s: the file outside is gone", name, kind)
			}
		}
	}
}
