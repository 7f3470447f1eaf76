//go:build packages

package packaging

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a Debian with the package installed, enabled, and with a puma that waits
// for the Source. It boots its own systemd in a container.
type machine struct {
	t    *testing.T
	root string
}

const units = "/etc/systemd/system/"

func newMachine(t *testing.T, deb string) machine {
	t.Helper()
	m := machine{t, bookworm(t)}
	command(t, "cp", deb, m.root+"/package.deb")
	m.put(units+"puma.service", `[Service]
ExecStartPre=-/bin/sh -c 'echo puma reads; cat /home/deploy/codepen/RELEASE'
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
`)
	command(t, "chroot", m.root, "sh", "-ec", "dpkg -i /package.deb; snapsource install --before puma.service; systemctl enable snapsource puma")
	return m
}

func (m machine) put(path, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.root+path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.root+path, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// bootTimeout bounds a boot, which takes about a second.
const bootTimeout = 2 * time.Minute

// boot starts the machine, runs a script on it, and gives what that says.
func (m machine) boot(script string, flags ...string) string {
	m.t.Helper()
	m.put("/report.sh", script+"\nsystemctl --no-block poweroff\n")
	m.put(units+"report.service", "[Service]\nType=oneshot\nExecStart=/bin/sh /report.sh\nStandardOutput=file:/report\nStandardError=file:/report\n")
	command(m.t, "ln", "-sf", units+"report.service", m.root+units+"multi-user.target.wants/report.service")
	ctx, cancel := context.WithTimeout(m.t.Context(), bootTimeout)
	defer cancel()
	args := append([]string{"-q", "-b", "-D", m.root, "--register=no", "--keep-unit", "--console=pipe", "--kill-signal=SIGKILL"}, flags...)
	cmd := exec.CommandContext(ctx, "systemd-nspawn", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // with SIGKILL it would leave the machine running
	cmd.WaitDelay = 10 * time.Second
	console, err := cmd.CombinedOutput()
	report, readErr := os.ReadFile(m.root + "/report")
	if err != nil || readErr != nil {
		m.t.Fatalf("systemd-nspawn: %v, %v\n%s\n%s", err, readErr, console, report)
	}
	return string(report)
}

// TestBoot runs the package's unit, with all its hardening, in a real systemd.
func TestBoot(t *testing.T) {
	deb := one(t, build(t)+"/*_amd64.deb")
	t.Run("mounts", func(t *testing.T) { mounts(t, deb) })
	t.Run("retries", func(t *testing.T) { retries(t, deb) })
}

// mounts boots an instance whose volume is attached. EC2 and the device are the
// sandbox's.
func mounts(t *testing.T, deb string) {
	m := newMachine(t, deb)
	program := m.root + "/usr/bin/snapsource"
	sandbox, state := filepath.Join(t.TempDir(), "ec2sandbox"), t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", sandbox, "snapsource/cmd/ec2sandbox").CombinedOutput(); err != nil {
		t.Fatalf("build ec2sandbox: %v\n%s", err, out)
	}
	on := []string{"run", "--state", state, "--instance", "web-1", "--", "sh", "-ec"}
	command(t, sandbox, append(on, program+" init\necho release 1 >/home/deploy/codepen/RELEASE")...)

	// After its reboot, web-1 has the volume still attached; its EC2 serves the container.
	cmd := exec.CommandContext(t.Context(), sandbox, append(on, `env | grep ^AWS_; cd /dev/disk/by-id
for link in *; do echo "$link $(readlink $link)"; done; echo; exec sleep infinity`)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	environment, links, loop := readInstance(out)
	m.put(units+"snapsource.service.d/ec2.conf", environment)
	m.put("/etc/tmpfiles.d/ebs.conf", links)

	report := m.boot(`
until systemctl -q is-active puma || systemctl -q is-failed snapsource; do sleep 0.1; done
findmnt -no TARGET,FSTYPE /cp; findmnt -no TARGET,FSTYPE /home/deploy/codepen
systemctl show -p StatusText,ActiveState,SubState snapsource
[ $(systemctl show -P InactiveExitTimestampMonotonic puma) -ge $(systemctl show -P ActiveEnterTimestampMonotonic snapsource) ] && echo puma began after it
journalctl --sync; journalctl -u puma -o cat | grep release
until systemctl show -P ExecMainExitTimestampMonotonic snapsource-warm | grep -qv '^0$'; do sleep 0.1; done
systemctl show -p Result,ExecMainStatus snapsource-warm
systemctl stop snapsource; findmnt -no SOURCE /home/deploy/codepen
journalctl --sync; journalctl -b -o cat -u snapsource -u snapsource-warm -u puma
systemctl -q disable snapsource
for again in 1 2; do snapsource install --before other.service | grep -v see; systemctl is-enabled snapsource; done
systemctl show -p NeedDaemonReload snapsource
snapsource uninstall | tail -1; systemctl is-enabled snapsource`, "--bind=/dev/"+loop)
	for _, want := range []string{
		`/cp +xfs\n/home/deploy/codepen +xfs\n`,
		`StatusText=codepen-app: announce.*\nActiveState=active\nSubState=exited\npuma began after it\n`,
		`(?s:Result=success\nExecMainStatus=0\n.*was created blank)`,
		`/dev/loop[0-9]+\[/codepen\]\n`, // still, when the unit is stopped
		`ran systemctl daemon-reload\nran systemctl enable snapsource.service\nenabled\nnothing to do\nenabled\nNeedDaemonReload=no\nran systemctl daemon-reload\ndisabled\n`,
		`puma reads\n(?s:.*)release 1\n`, // the journal may have systemd's own lines between them
	} {
		if !regexp.MustCompile(want).MatchString(report) {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(report)
	}
}

// readInstance reads an instance's AWS variables and device links, and returns them as a
// unit's drop-in and as a tmpfiles.d file, with the name of the loop device.
func readInstance(out io.Reader) (environment, links, loop string) {
	environment, links, loop = "[Service]\n", "d /dev/disk 0755\nd /dev/disk/by-id 0755\n", ""
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		if link, to, found := strings.Cut(lines.Text(), " "); found {
			links += fmt.Sprintf("L /dev/disk/by-id/%s - - - - %s\n", link, to)
			loop = filepath.Base(to)
		} else {
			environment += "Environment=" + lines.Text() + "\n"
		}
	}
	return environment, links, loop
}

// retries replaces the program by one that ends with one exit code after the other.
func retries(t *testing.T, deb string) {
	for _, c := range []struct{ codes, restarts, puma string }{
		{"75 75 0", "NRestarts=2", "active"}, // a retry that succeeds starts what waits
		{"65 0", "NRestarts=0", "inactive"},
	} {
		m := newMachine(t, deb)
		m.put("/usr/bin/snapsource", "#!/bin/sh\nread code rest </codes; echo $rest >/codes; exit $code\n")
		m.put("/codes", c.codes+"\n")
		m.put(units+"snapsource.service.d/soon.conf", "[Service]\nRestartSec=100ms\n")
		report := m.boot(`
until systemctl -q is-active snapsource || systemctl -q is-failed snapsource; do sleep 0.1; done
while [ -n "$(systemctl list-jobs --no-legend puma.service)" ]; do sleep 0.1; done
systemctl show -p NRestarts snapsource; systemctl is-active puma; journalctl -b -o cat -u snapsource -u puma`)
		if !strings.HasPrefix(report, c.restarts+"\n"+c.puma+"\n") {
			t.Errorf("after the exit codes %s: want %s and an %s puma, got\n%s", c.codes, c.restarts, c.puma, report)
		}
	}
}
