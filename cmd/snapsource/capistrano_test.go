//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// TestCapistrano: releases go out with the example of examples/capistrano, by
// Debian's Capistrano and OpenSSH: to one instance, to those that were launched from
// its snapshot as well, and back again.
func TestCapistrano(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)

	d.boot("web-1", "snapsource init\nchown deploy: /home/deploy/codepen")
	d.commit("release 1")
	d.cap("deploy")
	d.wantRelease("release 1", "web-1")
	first := d.current("web-1")

	d.boot("web-2", "snapsource up")
	d.boot("web-3", withoutRoles+"snapsource up")
	d.wantRelease("release 1", "web-2", "web-3")

	d.commit("release 2")
	d.cap("deploy", "ANNOUNCE="+instanceID(d.sandbox, "web-3")) // when the servers have been listed
	d.wantRelease("release 2", "web-1", "web-2", "web-3")

	d.workstation("snapsource reject latest --reason 'breaks the login'")
	d.boot("web-4", withoutRoles+"snapsource up")
	d.wantRelease("release 1", "web-4")

	d.cap("deploy:rollback", "ROLLBACK_RELEASE="+first)
	d.wantRelease("release 1", "web-1", "web-2", "web-3")
	d.boot("web-5", "snapsource up")
	d.wantRelease("release 1", "web-5")
	if n := len(d.snapshots()); n != 3 {
		t.Errorf("%d snapshots, want one of each deployment and one of the roll back", n)
	}
}

// TestCapistranoWithoutServers: a deployment to nobody fails and says why.
func TestCapistranoWithoutServers(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	out, code := d.sandbox.try("workstation", "cd "+d.project+"\ncap production deploy")
	if code == 0 || !strings.Contains(out, "has role app, stage production") || !strings.Contains(out, "snapsource hosts failed") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// deployment is a sandbox with a workstation, where the example's Capistrano project
// and the key are, and a git server.
type deployment struct {
	t                *testing.T
	sandbox          *sandbox
	project          string // directory of the Capistrano project
	repository, keys string // directories
	port             int    // of every sshd, each on its instance's own address
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	s := newSandbox(t)
	for _, tool := range []string{"cap", "sshd", "git", "sudo"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	d := &deployment{t: t, sandbox: s, project: t.TempDir(), repository: t.TempDir(), keys: t.TempDir(), port: freePort(t)}
	d.host("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(d.keys, "id"))
	d.git("init", "-q", "-b", "main")
	gitPort := freePort(t)
	d.background("Ready to rumble", "git", "daemon", "--verbose", "--export-all", "--listen=127.0.0.1",
		fmt.Sprintf("--port=%d", gitPort), "--base-path="+d.repository)

	if err := os.CopyFS(d.project, os.DirFS("../../examples/capistrano")); err != nil {
		t.Fatal(err)
	}
	// What an operator would change in the example, and an instance that gets its
	// roles while a deployment is at work.
	stage, err := os.OpenFile(filepath.Join(d.project, "config/deploy/production.rb"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	if _, err := fmt.Fprintf(stage, `
set :repo_url, "git://127.0.0.1:%d/"
set :ssh_options, fetch(:ssh_options).merge(port: %d, keys: ["%s/id"], keys_only: true, user_known_hosts_file: "%[3]s/known_hosts")

after "deploy:updated", "announce" do
  instance = ENV["ANNOUNCE"] or next
  system("aws", "ec2", "create-tags", "--resources", instance, "--tags", "Key=Roles,Value=app", "Key=Stages,Value=production") || abort
end
`, gitPort, d.port, d.keys); err != nil {
		t.Fatal(err)
	}
	return d
}

// freePort returns a TCP port that nothing listens on. All of the loopback network has
// it free, but for another run of this test.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// sudoersLine is what docs/capistrano.md has in /etc/sudoers.d.
const sudoersLine = "deploy ALL=(root) NOPASSWD: /usr/bin/snapsource snapshot --wait --source codepen-app"

// TestSudoers: what deployments may do as root is one command without a wildcard, which is
// the one that the example of Capistrano's runs.
func TestSudoers(t *testing.T) {
	doc, err := os.ReadFile("../../docs/capistrano.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "\n"+sudoersLine+"\n") || strings.Count(string(doc), "NOPASSWD") != 1 || strings.Contains(sudoersLine, "*") {
		t.Errorf("docs/capistrano.md has not %s", sudoersLine)
	}
}

// machineImage makes an instance what docs/capistrano.md asks of a machine image:
// a user to deploy as, who may take snapshots, and sshd.
//
// An instance needs no AWS variables; in the sandbox they point to its EC2.
const machineImage = `
export -p | grep ' AWS_' >/run/sandbox-env
cat >/usr/bin/snapsource <<END
#!/bin/sh
. /run/sandbox-env
exec $(command -v snapsource) "\$@"
END
chmod 755 /usr/bin/snapsource
cat >/etc/snapsource.yaml <<'END'
roles: [app]
stages: [production]
END

id deploy >/dev/null 2>&1 || useradd --uid 4711 --create-home --shell /bin/sh --password '*' deploy
install -d -o deploy -m 700 /home/deploy/.ssh
install -o deploy -m 600 "$keys/id.pub" /home/deploy/.ssh/authorized_keys
cat >/etc/sudoers.d/snapsource <<'END'
Defaults:deploy !fqdn
` + sudoersLine + `
END
chmod 440 /etc/sudoers.d/snapsource
ssh-keygen -q -t ed25519 -N '' -f /run/host_key
mkdir -p /run/sshd
`

// withoutRoles makes an instance that no deployment finds.
const withoutRoles = "rm /etc/snapsource.yaml\n"

const runSSHD = `
exec /usr/sbin/sshd -D -e -f /dev/null -h /run/host_key -o ListenAddress=$address:$port -o PidFile=none
`

// boot starts an instance and keeps it alive: it gets its Source by this script, and
// then runs sshd.
func (d *deployment) boot(name, source string) {
	d.t.Helper()
	launch := d.sandbox.run(name, `aws ec2 describe-instances --query 'Reservations[].Instances[].PrivateIpAddress' --output text \
--filters Name=instance-state-name,Values=running Name=tag:Name,Values=`+name)
	settings := fmt.Sprintf("set -e\nkeys=%s address=%s port=%d\n", d.keys, strings.TrimSpace(launch), d.port)
	d.background("Server listening on", d.sandbox.program, "run", "--state", d.sandbox.dir, "--instance", name, "--",
		"sh", "-c", settings+machineImage+source+runSSHD)
}

// background starts a program that runs until the test ends, and waits until it
// says that it is ready.
func (d *deployment) background(ready, program string, args ...string) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // a test that is killed cleans up nothing
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	var said output
	seen, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends when the program has
		defer close(ended)
		waiting := true
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			said.add(lines.Text())
			if waiting && strings.Contains(lines.Text(), ready) {
				waiting = false
				close(seen)
			}
		}
	}()
	exited := make(chan struct{})
	go func() { // ends when the program has
		defer close(exited)
		_ = cmd.Wait() // it ends by the signal
		writer.Close()
	}()
	d.t.Cleanup(func() {
		<-exited
		<-ended
		if d.t.Failed() {
			d.t.Logf("%s %s said\n%s", filepath.Base(program), strings.Join(args[:min(len(args), 5)], " "), said.text())
		}
	})
	select {
	case <-seen:
	case <-ended:
		d.t.Fatalf("%s ended:\n%s", program, said.text())
	case <-time.After(sandboxTimeout):
		d.t.Fatalf("%s does not say %q:\n%s", program, ready, said.text())
	}
}

// output is what a program in the background has said.
type output struct {
	mu   sync.Mutex
	said bytes.Buffer
}

func (o *output) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said.WriteString(line + "\n")
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said.String()
}

// host runs a program outside of the sandbox.
func (d *deployment) host(program string, args ...string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), sandboxTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

func (d *deployment) git(args ...string) {
	d.t.Helper()
	d.host("git", append([]string{"-C", d.repository, "-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
}

// commit puts a release into the repository.
func (d *deployment) commit(release string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.repository, "RELEASE"), []byte(release+"\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
	d.git("add", "RELEASE")
	d.git("commit", "-q", "-m", release)
}

// workstation runs a script where the operator sits: on an instance without a role.
func (d *deployment) workstation(script string) string {
	d.t.Helper()
	start := time.Now()
	out := d.sandbox.run("workstation", script)
	d.t.Logf("%s: %s", script[strings.LastIndex(script, "\n")+1:], time.Since(start).Round(time.Millisecond))
	return out
}

// cap runs a Capistrano task of production, with these environment variables.
func (d *deployment) cap(task string, env ...string) {
	d.t.Helper()
	d.workstation("cd " + d.project + "\nenv " + strings.Join(env, " ") + " cap production " + task)
}

// wantRelease checks what is served on these instances.
func (d *deployment) wantRelease(want string, names ...string) {
	d.t.Helper()
	for _, name := range names {
		if got := d.sandbox.run(name, "cat /home/deploy/codepen/current/RELEASE"); got != want+"\n" {
			d.t.Errorf("%s serves %q, want %q", name, got, want)
		}
	}
}

// current returns the name of the release that an instance serves.
func (d *deployment) current(name string) string {
	d.t.Helper()
	return filepath.Base(strings.TrimSpace(d.sandbox.run(name, "readlink /home/deploy/codepen/current")))
}

// snapshots returns those that are not deleted.
func (d *deployment) snapshots() []ec2test.Snapshot {
	d.t.Helper()
	var found []ec2test.Snapshot
	d.sandbox.change(func(w *ec2test.World) {
		for _, s := range w.Snapshots {
			if s.Deleted.IsZero() {
				found = append(found, *s)
			}
		}
	})
	return found
}
