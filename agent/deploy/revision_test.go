package deploy

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const commit = "e8f0d063d1d3a10612598687396cd418d9829e89"

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestRevision(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":             {nil, ""},
		"a branch":            {map[string]string{".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": commit + "\n"}, commit},
		"packed":              {map[string]string{".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": "# pack-refs with: peeled\n1111 refs/heads/mai\n" + commit + " refs/heads/main\n^2222\n"}, commit},
		"detached":            {map[string]string{".git/HEAD": commit + "\n"}, commit},
		"no commit yet":       {map[string]string{".git/HEAD": "ref: refs/heads/main\n"}, ""},
		"a work tree":         {map[string]string{".git": "gitdir: bare/worktrees/x\n", "bare/worktrees/x/HEAD": "ref: refs/heads/main\n", "bare/worktrees/x/commondir": "../..\n", "bare/refs/heads/main": commit}, commit},
		"Capistrano":          {map[string]string{"current/REVISION": "12345\n", "REVISION": "54321"}, "12345"},
		"current's":           {map[string]string{"current/.git/HEAD": commit, ".git/HEAD": "1111"}, commit},
		"not a revision":      {map[string]string{"REVISION": "root:x:0:0\n"}, ""},
		"a ref outside":       {map[string]string{".git/HEAD": "ref: refs/../../secret\n", "secret": commit}, ""},
		"a ref that is none":  {map[string]string{".git/HEAD": "ref: secret\n", ".git/secret": commit}, ""},
		"current has nothing": {map[string]string{"current/file": "", ".git/HEAD": commit}, commit},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tc.files {
				write(t, dir, file, text)
			}
			if got := Revision(dir); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestRevisionLinks(t *testing.T) {
	for name, tc := range map[string]struct {
		links map[string]string // DIR is the Source, OUT what is not in it
		want  string
	}{
		"current by its whole path":  {map[string]string{"current": "DIR/releases/2"}, "22"},
		"current from here":          {map[string]string{"current": "releases/2"}, "22"},
		"REVISION to another":        {map[string]string{"REVISION": "releases/2/REVISION"}, "22"},
		"REVISION out of the Source": {map[string]string{"REVISION": "OUT/secret"}, ""},
		"REVISION up and out":        {map[string]string{"REVISION": "../out/secret"}, ""},
		"REVISION to a device":       {map[string]string{"REVISION": "/dev/zero"}, ""},
		"current out of the Source":  {map[string]string{"current": "OUT"}, ""},
		"HEAD out of the Source":     {map[string]string{"git/HEAD": "OUT/secret", ".git": "git"}, ""},
	} {
		top := t.TempDir()
		dir, out := filepath.Join(top, "source"), filepath.Join(top, "out")
		write(t, dir, "releases/2/REVISION", "22")
		write(t, dir, "git/config", "")
		write(t, out, "secret", "abcdef")
		write(t, out, "REVISION", "abcdef")
		for link, target := range tc.links {
			if err := os.Symlink(strings.NewReplacer("DIR", dir, "OUT", out).Replace(target), filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		if got := Revision(dir); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestRevisionOfGitOutside(t *testing.T) {
	top := t.TempDir()
	dir, out := filepath.Join(top, "source"), filepath.Join(top, "out")
	write(t, out, "HEAD", commit)
	write(t, out, "refs/heads/main", commit)
	write(t, dir, ".git", "gitdir: "+out)
	if got := Revision(dir); got != "" {
		t.Errorf("gitdir: %q", got)
	}
	write(t, dir, "git/HEAD", "ref: refs/heads/main")
	write(t, dir, "git/commondir", out)
	write(t, dir, ".git", "gitdir: "+dir+"/git")
	if got := Revision(dir); got != "" {
		t.Errorf("commondir: %q", got)
	}
	write(t, dir, "git/refs/heads/main", commit)
	if got := Revision(dir); got != commit {
		t.Errorf("in the Source: %q", got)
	}
}

func TestRevisionFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "REVISION"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Revision(dir); got != "" {
		t.Error(got)
	}
}

func TestRevisionOfGit(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `git init -q -b main . && git -c user.email=a@b -c user.name=n commit -q --allow-empty -m x && git rev-parse HEAD`)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs git: %v", err)
	}
	if got := Revision(dir); got != strings.TrimSpace(string(out)) {
		t.Errorf("%q, git says %q", got, out)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "pack-refs", "--all").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := Revision(dir); got != strings.TrimSpace(string(out)) {
		t.Errorf("packed: %q, git says %q", got, out)
	}
}
