//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// lab is what all tests of this process share: the programs, and the state of a sandbox
// in which web-1 has deployed a release. The first test that needs one makes it.
var lab struct {
	dir      string
	programs sync.Once
	template sync.Once
}

func withLab(run func() int) int {
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	lab.dir = dir
	return run()
}

// sandbox is EC2 for one host, with snapsource in the instances' PATH. Sandboxes don't
// see each other, so that tests may run at the same time.
type sandbox struct {
	t       *testing.T
	dir     string
	program string
	timeout time.Duration // of a run; 0: sandboxTimeout
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces, mounts and loop devices")
	}
	for _, tool := range []string{"/usr/bin/aws", "mkfs.xfs", "findmnt"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	bin := filepath.Join(lab.dir, "bin")
	lab.programs.Do(func() { makePrograms(t, bin) })
	return &sandbox{t: t, dir: t.TempDir(), program: filepath.Join(bin, "ec2sandbox")}
}

// makePrograms builds ec2sandbox, and has the test binary be snapsource.
func makePrograms(t *testing.T, bin string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin+"/", "snapsource/cmd/ec2sandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ec2sandbox: %v\n%s", err, out)
	}
	// The race detector would make each process sleep for a second before it ends.
	wrapper := "#!/bin/sh\nexport RUN_TEST_AS_PROGRAM=1 GORACE=atexit_sleep_ms=0\nexec " + self + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "snapsource"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Setenv("PATH", bin+":/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH")); err != nil {
		t.Fatal(err)
	}
}

// sandboxTimeout bounds one run in the sandbox. Most take a second, but on a busy machine the AWS CLI takes
// several to start, and its waiters poll every 15 s.
const sandboxTimeout = 3 * time.Minute

// bareImage makes the image of a new instance independent of the host, which may have
// mountpoints and a user of these names. It changes only the instance's own files.
const bareImage = `[ -e /etc/bare-image ] || {
	: >/etc/bare-image
	rm -rf /cp /home/deploy
	sed -i /^deploy:/d /etc/passwd /etc/shadow /etc/group /etc/gshadow
} 2>/dev/null
`

// try runs a shell script on an instance and returns its output and exit code.
func (s *sandbox) try(name, script string, flags ...string) (string, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), cmp.Or(s.timeout, sandboxTimeout))
	defer cancel()
	args := append([]string{"run", "--state", s.dir, "--instance", name}, flags...)
	cmd := exec.CommandContext(ctx, s.program, append(args, "--", "sh", "-c", bareImage+script)...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// run is try for a script that must succeed.
func (s *sandbox) run(name, script string, flags ...string) string {
	s.t.Helper()
	out, code := s.try(name, "set -e\n"+script, flags...)
	if code != 0 {
		s.t.Fatalf("on %s: exit code %d\n%s\n%s", name, code, script, out)
	}
	return out
}

// calls returns an instance's API calls: "CreateVolume vol-… ok".
func (s *sandbox) calls(name string) []ec2test.Call {
	s.t.Helper()
	store, err := ec2test.OpenDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := store.Calls(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(c ec2test.Call) bool { return c.Caller != name })
}

// change edits what the control plane knows, as things happen that no call of the
// instance causes.
func (s *sandbox) change(edit func(*ec2test.World)) {
	s.t.Helper()
	store, err := ec2test.OpenDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := store.Update(s.t.Context(), func(w *ec2test.World) error { edit(w); return nil }); err != nil {
		s.t.Fatal(err)
	}
}

// volumes returns the volumes of a source that are not gone.
func (s *sandbox) volumes(source string) (found []ec2test.Volume) {
	s.t.Helper()
	s.change(func(w *ec2test.World) { found = volumesOf(w, source) })
	return found
}

func volumesOf(w *ec2test.World, source string) (found []ec2test.Volume) {
	for _, v := range w.Volumes {
		state := v.State(time.Now())
		if v.Tags["snapsource:source"] == source && state != "deleting" && state != "deleted" && state != "" {
			found = append(found, *v)
		}
	}
	return found
}

// takeSnapshot takes a snapshot of the one volume of a source by the AWS CLI.
const takeSnapshot = `
sync
volume=$(aws ec2 describe-volumes --filters Name=tag:Name,Values=codepen-app --query 'Volumes[0].VolumeId' --output text)
aws ec2 create-snapshot --volume-id $volume --tag-specifications 'ResourceType=snapshot,Tags=[{Key=Name,Value=codepen-app}]' >/dev/null
aws ec2 wait snapshot-completed --owner-ids self --filters Name=tag:Name,Values=codepen-app
`

// deployed is a sandbox in which web-1 has deployed a release.
func deployed(t *testing.T) *sandbox {
	t.Helper()
	s := newSandbox(t)
	template := &sandbox{t: t, dir: filepath.Join(lab.dir, "template"), program: s.program}
	lab.template.Do(func() {
		template.run("web-1", "snapsource init\necho 'release 1' >/home/deploy/codepen/RELEASE"+takeSnapshot)
	})
	return template.copy(t)
}

// modesBelow prints the modes of the mountpoints under the mounts.
const modesBelow = `
mkdir -p /mnt/below
mount --bind / /mnt/below
stat -c %a /mnt/below/cp /mnt/below/home/deploy/codepen
`

// TestRelease: a release goes from one instance's Source to another's.
func TestRelease(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-2", `
snapsource up
cat /cp/codepen/RELEASE /home/deploy/codepen/RELEASE
findmnt -no FSTYPE,OPTIONS /cp
findmnt -no FSTYPE,SOURCE /home/deploy/codepen`+modesBelow)
	_, facts, _ := strings.Cut(out, "Source is ready")
	lines := strings.Split(strings.TrimSpace(facts), "\n")[1:]
	if len(lines) != 6 {
		t.Fatalf("got %d lines:\n%s", len(lines), out)
	}
	if lines[0] != "release 1" || lines[1] != "release 1" {
		t.Errorf("the release reads %q and %q", lines[0], lines[1])
	}
	if !strings.HasPrefix(lines[2], "xfs") || !strings.Contains(lines[2], "noatime") || !strings.Contains(lines[2], "nosuid") || !strings.Contains(lines[2], "nodev") {
		t.Errorf("/cp is mounted as %s", lines[2])
	}
	if !strings.HasPrefix(lines[3], "xfs") || !strings.HasSuffix(lines[3], "[/codepen]") {
		t.Errorf("the bind is %s", lines[3])
	}
	if lines[4] != "0" || lines[5] != "0" {
		t.Errorf("modes below the mounts: %s and %s, want 000", lines[4], lines[5])
	}

	t.Run("after a reboot", func(t *testing.T) {
		before := len(s.volumes("codepen-app"))
		out := s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE")
		if after := len(s.volumes("codepen-app")); after != before || !strings.HasSuffix(out, "release 1\n") {
			t.Errorf("%d volumes before, %d after; output\n%s", before, after, out)
		}
	})
	t.Run("again", func(t *testing.T) { upAgain(t, s) })
	t.Run("volume of a terminated instance", func(t *testing.T) {
		before := len(s.volumes("codepen-app"))
		if out, err := exec.CommandContext(t.Context(), s.program, "terminate", "--state", s.dir, "web-3").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if after := len(s.volumes("codepen-app")); after != before-1 {
			t.Errorf("%d volumes before, %d after; want one less", before, after)
		}
	})
}

// upAgain runs up at a launch, after a reboot, and when there is nothing to do.
func upAgain(t *testing.T, s *sandbox) {
	before := len(s.calls("web-3"))
	s.run("web-3", "snapsource up")
	first := len(s.calls("web-3"))
	out := s.run("web-3", `
snapsource up # mounts again after the reboot
touch /run/mark
snapsource up --output json >/run/second
snapsource plan
snapsource status
grep changed /run/second`)
	for _, want := range []string{"nothing to do", `"changed": false`, "state      ready"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// Of the three runs after the reboot only the first may call: two describes.
	if first == before || len(s.calls("web-3")) != first+2 {
		t.Errorf("%d calls at launch, %d after the reboot; want some and 2", first-before, len(s.calls("web-3"))-first)
	}
}

func instanceID(s *sandbox, name string) (id string) {
	s.t.Helper()
	s.change(func(w *ec2test.World) {
		if i := w.Live(name, time.Now()); i != nil {
			id = i.ID
		}
	})
	return id
}
