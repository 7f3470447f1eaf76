//go:build packages

package packaging

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// command runs a program; whatever it asks, there is no answer.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=teletype", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// build makes the packages in a directory, and gives that. Assignments are make's.
func build(t *testing.T, assignments ...string) string {
	t.Helper()
	dist := filepath.Join(t.TempDir(), "dist")
	cmd := exec.CommandContext(t.Context(), "make", append(assignments, "-C", "..", "packages", "DIST="+dist)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages: %v\n%s", err, out)
	}
	return dist
}

func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// bookworm is a Debian 12 in a directory of its own, from a tarball that is kept.
func bookworm(t *testing.T) string {
	t.Helper()
	recipe := []string{"--quiet", "--variant=minbase", "--include=dbus,man-db,systemd-sysv,xfsprogs", "bookworm"}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	tarball := filepath.Join(cache, "snapsource", fmt.Sprintf("bookworm-%x.tar", sha256.Sum256([]byte(strings.Join(recipe, " ")))))
	if _, err := os.Stat(tarball); err != nil {
		if err := os.MkdirAll(filepath.Dir(tarball), 0o755); err != nil {
			t.Fatal(err)
		}
		fresh := strings.TrimSuffix(tarball, ".tar") + ".new.tar"
		// This machine's own mirror, where it is a bookworm too.
		sources := strings.Fields(command(t, "sh", "-c", `grep -ls '\<bookworm\>' /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources || true`))
		command(t, "mmdebstrap", append(append(recipe, fresh), sources...)...)
		if err := os.Rename(fresh, tarball); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	command(t, "tar", "-C", root, "-xf", tarball)
	return root
}

// files are those of both kinds of package.
var files = []string{
	"/etc/snapsource.yaml",
	"/usr/bin/snapsource",
	"/usr/lib/systemd/system/snapsource-warm.service",
	"/usr/lib/systemd/system/snapsource.service",
	"/usr/share/bash-completion/completions/snapsource",
	"/usr/share/doc/snapsource/copyright",
	"/usr/share/doc/snapsource/licenses.gz",
	"/usr/share/fish/vendor_completions.d/snapsource.fish",
	"/usr/share/man/man1/snapsource.1.gz",
}

func TestPackages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: a chroot and a mount")
	}
	dist := build(t)
	t.Run("lintian", func(t *testing.T) {
		for _, arch := range []string{"amd64", "arm64"} {
			if out := command(t, "lintian", "--fail-on=error", one(t, dist+"/*_"+arch+".deb")); out != "" {
				t.Logf("%s:\n%s", arch, out)
			}
		}
	})
	newer := build(t, "VERSION=9.0.0", "ARCHES=amd64")
	t.Run("deb", func(t *testing.T) {
		life(t, debian, one(t, dist+"/*_amd64.deb"), one(t, newer+"/*.deb"))
	})
	t.Run("rpm", func(t *testing.T) {
		life(t, redHat, one(t, dist+"/*.x86_64.rpm"), one(t, newer+"/*.rpm"))
	})
	for _, arch := range []string{"x86_64", "aarch64"} {
		t.Run("rpm "+arch, func(t *testing.T) { checkRPM(t, one(t, dist+"/*."+arch+".rpm"), arch) })
	}
}

// format is a kind of package: what its tool takes to install or upgrade one on the
// system below a directory, and to remove it, and where a removal leaves the
// configuration that the operator has changed.
type format struct {
	install, remove []string
	purge           []string // rpm has no such thing
	zsh, left       string
}

var (
	debian = format{
		install: []string{"dpkg", "--root=ROOT", "-i", "FILE"},
		remove:  []string{"dpkg", "--root=ROOT", "-r", "snapsource"},
		purge:   []string{"dpkg", "--root=ROOT", "-P", "snapsource"},
		zsh:     "/usr/share/zsh/vendor-completions/_snapsource",
		left:    "/etc/snapsource.yaml",
	}
	// rpm itself, though on a Debian, of whose other packages it knows nothing.
	redHat = format{
		install: []string{"rpm", "--root=ROOT", "--dbpath=/var/lib/rpm", "--nodeps", "-U", "FILE"},
		remove:  []string{"rpm", "--root=ROOT", "--dbpath=/var/lib/rpm", "-e", "snapsource"},
		zsh:     "/usr/share/zsh/site-functions/_snapsource",
		left:    "/etc/snapsource.yaml.rpmsave",
	}
)

// life is that of a package on a system: installed, upgraded, removed. What is mounted
// stays mounted, and the operator's configuration stays until the purge.
func life(t *testing.T, f format, first, newer string) {
	root := bookworm(t)
	run := func(args []string, file string) {
		t.Helper()
		args = slices.Clone(args)
		for i, arg := range args {
			args[i] = strings.Replace(strings.Replace(arg, "ROOT", root, 1), "FILE", file, 1)
		}
		command(t, args[0], args[1:]...)
	}
	chroot := func(script string) string {
		t.Helper()
		return command(t, "chroot", root, "sh", "-ec", script)
	}
	source := mountSource(t, root)
	mounted := func(after string) {
		t.Helper()
		var st unix.Statfs_t
		if err := unix.Statfs(source, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
			t.Errorf("after %s the Source is not mounted any more: %v", after, err)
		}
	}

	run(f.install, first)
	mounted("the installation")
	checkInstalled(t, f, root, chroot)

	chroot("echo 'timeout: 5m' >>/etc/snapsource.yaml; snapsource install --before puma.service; ln -s /usr/lib/systemd/system/snapsource.service " + unitLink)
	const configured = "cd /etc; find . -name '*snapsource*' -o -name '*puma*' | sort; cat snapsource.yaml"
	before := chroot(configured)
	run(f.install, newer)
	mounted("the upgrade")
	if out := chroot("snapsource version"); !strings.HasPrefix(out, "snapsource 9.0.0 ") {
		t.Errorf("after the upgrade version says %q", out)
	}
	if diff := cmp.Diff(before, chroot(configured)); diff != "" {
		t.Errorf("the upgrade changed what is configured (-before +after):\n%s", diff)
	}

	run(f.remove, "")
	mounted("the removal")
	if left := chroot("find /etc /usr -name '*snapsource*' -o -name '*puma*'"); left != f.left+"\n" {
		t.Errorf("the removal left\n%s", left)
	}
	if text := chroot("cat " + f.left); !strings.HasSuffix(text, "\ntimeout: 5m\n") {
		t.Errorf("the removal left this configuration:\n%s", text)
	}
	if f.purge == nil {
		return
	}
	run(f.purge, "")
	mounted("the purge")
	if left := chroot("find /etc /usr /var/lib/dpkg/info -name '*snapsource*'"); left != "" {
		t.Errorf("the purge left\n%s", left)
	}
}

func checkRPM(t *testing.T, rpm, arch string) {
	want := append(slices.Clone(files), redHat.zsh, "/usr/share/doc/snapsource")
	slices.Sort(want)
	if diff := cmp.Diff(want, strings.Fields(command(t, "rpm", "-qpl", rpm))); diff != "" {
		t.Errorf("its files (-want +got):\n%s", diff)
	}
	if got := command(t, "rpm", "-qp", "--qf", "%{NAME} %{ARCH} %{LICENSE} %{RECOMMENDS}", rpm); got != "snapsource "+arch+" Apache-2.0 xfsprogs" {
		t.Errorf("it says of itself %q", got)
	}
	// Linux's %config(noreplace) is bits 1 and 16 of a file's flags.
	if got := command(t, "rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", rpm); !strings.Contains(got, "/etc/snapsource.yaml cn\n") {
		t.Errorf("the configuration would be replaced:\n%s", got)
	}
	scripts := command(t, "rpm", "-qp", "--scripts", rpm)
	for _, never := range []string{"systemctl stop", "systemctl start", "systemctl restart", "umount"} {
		if strings.Contains(scripts, never) {
			t.Errorf("a script calls %s:\n%s", never, scripts)
		}
	}
	if strings.Count(scripts, "daemon-reload") != 2 || !strings.Contains(scripts, "snapsource uninstall") {
		t.Errorf("its scripts:\n%s", scripts)
	}
	command(t, "rpm", "--root", t.TempDir(), "--ignorearch", "--nodeps", "-i", "--test", rpm)
}

// unitLink exists while the unit is enabled.
const unitLink = "/etc/systemd/system/multi-user.target.wants/snapsource.service"

// checkInstalled checks a fresh installation.
func checkInstalled(t *testing.T, f format, root string, chroot func(script string) string) {
	t.Helper()
	for _, file := range append(slices.Clone(files), f.zsh) {
		if info, err := os.Lstat(root + file); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v", file, err)
		}
	}
	if out := chroot("snapsource version"); !strings.HasPrefix(out, "snapsource 0.") && !strings.HasPrefix(out, "snapsource 1.") {
		t.Errorf("version says %q", out)
	}
	if out := chroot("man snapsource"); !strings.Contains(out, "EXIT STATUS") || !strings.Contains(out, "snapsource up") {
		t.Errorf("man says\n%s", out)
	}
	if _, err := os.Lstat(root + unitLink); err == nil {
		t.Error("the installation enabled the unit")
	}
}

// mountSource mounts a file system where the Source is mounted.
func mountSource(t *testing.T, root string) string {
	t.Helper()
	source := filepath.Join(root, "cp")
	if err := os.Mkdir(source, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", source, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(source, 0) })
	return source
}
