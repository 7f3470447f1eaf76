//go:build vm

package vmtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// scenarios, "all" in the environment, runs all of them and not only the first four.
const scenarios = "VM"

// exampleDir has the examples that the scenarios use.
const exampleDir = "../../examples/"

// makeApp makes an application that reads its Source when it starts.
const makeApp = `
cat >/etc/systemd/system/app.service <<UNIT
[Service]
ExecStartPre=/bin/cat /home/deploy/codepen/RELEASE
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable app.service
`

// usePackage puts the package in the place of what user-data installed, as examples/image does.
const usePackage = `set -e
snapsource uninstall
rm /usr/local/bin/snapsource
for file in snapsource.deb snapsource.yaml provision.sh; do
	curl -sf -o /run/$file http://10.0.2.2:8080/$file
done
sh /run/provision.sh /run/snapsource.deb /run/snapsource.yaml app.service
`

// service is the state that one scenario leaves to the next.
type service struct {
	l     *lab
	sum   [sha256.Size]byte // of the program
	first string            // the first release's snapshot
	web   *machine
	image string // with the package, its unit and the application
}

// TestMachine runs scenarios, each of which starts from what the one before left: a machine,
// an image of it, or a snapshot.
func TestMachine(t *testing.T) {
	s := &service{l: newLab(t)}
	s.sum = s.l.offer(t)
	s.first = s.l.snapshot(t, "one")
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		began := time.Now()
		if !t.Run(name, f) {
			t.FailNow() // the next one needs what it leaves
		}
		t.Logf("%s: %.0f s", name, time.Since(began).Seconds())
	}
	step("user-data brings up the Source on a bare image", s.userData)
	step("the unit brings it up again after a reboot", s.reboot)
	t.Run("the volume arrives with the instance", s.arrived) // leaves nothing to the next one
	step("the power is cut in the middle of a launch", s.powerCut)
	if os.Getenv(scenarios) != "all" {
		return
	}
	step("a deployment under load, and a launch from its snapshot", s.deployment)
	step("metadata and EC2 are late", s.late)
	step("there is no snapshot", s.noSnapshot)
}

func (s *service) userData(t *testing.T) {
	s.web = s.l.launch(t, "web-1", s.l.image, ec2test.LaunchOptions{UserData: s.script(t)})
	s.web.booted()
	s.web.want("cloud-init status", "status: done")
	s.web.want("cloud-init query platform", "ec2")
	s.web.mounted("one")
	s.web.appRead("one")
	s.web.orderly()
}

// script returns the user-data of examples/user-data/script.sh, with the program's URL and checksum, on an
// image with an application.
func (s *service) script(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(exampleDir + "user-data/script.sh")
	check(t, err)
	script := string(text)
	for line, with := range map[string]string{
		`set -eu`:   "set -eu\n" + makeApp,
		`url=.*`:    "url=http://10.0.2.2:8080/snapsource",
		`sha256=.*`: fmt.Sprintf("sha256=%x", s.sum),
	} {
		pattern := regexp.MustCompile(`(?m)^` + line + `$`)
		if found := pattern.FindAllString(script, -1); len(found) != 1 {
			t.Fatalf("the example has the lines %q, want one like %s", found, line)
		}
		script = pattern.ReplaceAllLiteralString(script, with)
	}
	return script
}

func (s *service) reboot(t *testing.T) {
	s.web.on(t)
	volume, name := s.web.volumes(), s.web.run("findmnt -rno SOURCE /cp")
	s.web.run(usePackage)
	s.web.down("reboot")
	s.web.boot()
	s.web.booted()
	s.web.mounted("one")
	s.web.appRead("one")
	if now := s.web.volumes(); now[0] != volume[0] {
		t.Errorf("volume %s, it was %s", now[0], volume[0])
	}
	if now := s.web.run("findmnt -rno SOURCE /cp"); now == name {
		t.Errorf("the device node is %s again: the names were to change at the reboot", now)
	}
	s.web.orderly()
	s.web.down("poweroff")
	s.image = s.web.root()
}

func (s *service) powerCut(t *testing.T) {
	s.l.server.SetFaults(fault(t, "kill-before=AttachVolume"))
	s.web = s.l.launchVictim(t, "web-2", s.image)
	s.web.waitOff()
	s.l.server.SetFaults()
	if made := s.web.volumes(); len(made) != 1 {
		t.Fatalf("volumes %q when the power was cut", made)
	}
	s.web.boot()
	s.web.booted()
	s.web.mounted("one")
	s.web.appRead("one")
	s.web.orderly()
}

func (s *service) deployment(t *testing.T) {
	s.web.on(t)
	s.web.run(`cd /home/deploy/codepen && echo two >RELEASE
		systemd-run -q --unit load --working-directory=$PWD sh -c 'n=0; while :; do n=$((n + 1)); echo $n >counter.new; dd if=/dev/urandom of=blob bs=64k count=4 2>/dev/null; mv counter.new counter; done'`)
	s.web.run("timeout 60 sh -c 'until [ -s /home/deploy/codepen/counter ]; do sleep 0.2; done'")
	out := s.web.run("snapsource snapshot --wait")
	s.web.run("systemctl is-active load && systemctl stop load")
	id := regexp.MustCompile(`snap-[0-9a-f]+`).FindString(out)
	next := s.l.launch(t, "web-3", s.image, ec2test.LaunchOptions{})
	next.booted()
	next.mounted("two")
	next.appRead("two")
	next.run("test -s /home/deploy/codepen/counter")
	if v, _, err := s.l.server.Volume(t.Context(), next.volumes()[0]); err != nil || v.SnapshotID != id || id == s.first {
		t.Errorf("web-3's volume is from %s, the deployment made %s: %v", v.SnapshotID, id, err)
	}
	next.run("snapsource down --delete")
	next.mountedNothing()
	next.run("systemctl restart snapsource")
	next.mounted("two")
	volume := next.volumes()[0]
	check(t, s.l.server.Terminate(t.Context(), next.ID))
	next.cut()
	if v, _, err := s.l.server.Volume(t.Context(), volume); err != nil || v.State(time.Now().Add(time.Hour)) != "" {
		t.Errorf("%s is %s after its instance has been terminated: %v", volume, v.State(time.Now().Add(time.Hour)), err)
	}
	if _, err := os.Stat(s.l.disks.image(volume)); !os.IsNotExist(err) {
		t.Errorf("the data of %s: %v", volume, err)
	}
}

func (s *service) late(t *testing.T) {
	s.l.server.SetFaults(fault(t, "refuse=metadata@20s"), fault(t, "status=*@20s:503"))
	// cloud-init waits for the metadata service by itself; without it the unit is the first.
	late := s.l.launch(t, "web-4", s.image, ec2test.LaunchOptions{}, "cloud-init=disabled")
	late.booted()
	late.mounted("two")
	late.appRead("two")
	if took := late.orderly(); took < 40 {
		t.Errorf("up took %.1f s, though nobody answered for 40", took)
	}
	late.down("poweroff")
}

func (s *service) noSnapshot(t *testing.T) {
	s.web.on(t)
	s.web.run("for s in $(snapsource snapshots | cut -d ' ' -f 1 | grep snap-); do snapsource reject --allow-none $s; done")
	none := s.l.launch(t, "web-5", s.image, ec2test.LaunchOptions{})
	none.booted()
	none.want("systemctl show -P ExecMainStatus snapsource", "69")
	none.want("systemctl is-active snapsource app", "failed\ninactive")
	none.want("findmnt /cp", "")
	none.want("cloud-init status", "status: done")
	if !strings.Contains(none.console(), "no eligible snapshot") || !strings.Contains(none.console(), "snapsource init") {
		t.Error("the console does not show why and what to do")
	}
	if made := none.volumes(); len(made) != 0 {
		t.Errorf("volumes %q", made)
	}
	// The first volume is formatted under the unit's restrictions as well.
	none.run("echo 'if-none: blank' >>/etc/snapsource.yaml && systemctl start snapsource")
	none.want("findmnt -rno FSTYPE /cp", "xfs")
}

// offer builds what machines download, and gives the program's checksum.
func (l *lab) offer(t *testing.T) [sha256.Size]byte {
	t.Helper()
	bin, dist := t.TempDir(), t.TempDir()
	command(t, "make", "-C", "../..", "build", "BIN="+bin)
	command(t, "make", "-C", "../..", "packages", "ARCHES=amd64", "DIST="+dist)
	program, err := os.ReadFile(filepath.Join(bin, "snapsource"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(l.store, "snapsource"), program, 0o644))
	debs, err := filepath.Glob(filepath.Join(dist, "*_amd64.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("%q, %v", debs, err)
	}
	check(t, os.Rename(debs[0], filepath.Join(l.store, "snapsource.deb")))
	for _, name := range []string{"provision.sh", "snapsource.yaml"} {
		text, err := os.ReadFile(exampleDir + "image/" + name)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(l.store, name), text, 0o644))
	}
	return sha256.Sum256(program)
}

func fault(t *testing.T, spec string) ec2test.Fault {
	t.Helper()
	f, err := ec2test.ParseFault(spec)
	check(t, err)
	return f
}

// mounted checks what a machine with its Source has, by the guest's own word.
func (m *machine) mounted(release string) {
	m.t.Helper()
	m.want("findmnt -rno FSTYPE,OPTIONS /cp | tr ', ' '\\n\\n' | grep -xE 'xfs|rw|noatime' | xargs", "xfs rw noatime")
	m.want("findmnt -rno FSROOT /home/deploy/codepen", "/codepen")
	m.want("cat /home/deploy/codepen/RELEASE", release)
	volumes := m.volumes()
	if len(volumes) != 1 {
		m.t.Fatalf("%s has the volumes %q, want one", m.Name, volumes)
	}
	m.want("lsblk -dno SERIAL $(findmnt -rno SOURCE /cp)", serialOf(volumes[0]))
	m.want("findmnt -rno TARGET -t xfs", "/cp\n/home/deploy/codepen")
}

func (m *machine) mountedNothing() {
	m.t.Helper()
	m.want("findmnt -rno TARGET -t xfs", "")
	if left := m.volumes(); len(left) != 0 {
		m.t.Errorf("%s has the volumes %q", m.Name, left)
	}
}

// appRead checks that the application read the Source when it started.
func (m *machine) appRead(release string) {
	m.t.Helper()
	m.want("systemctl is-active app.service", "active")
	m.want("journalctl -b -u app.service -o cat | grep -x "+release, release)
}

// orderly checks what systemd says of a boot with the unit, and gives how many seconds up
// took.
func (m *machine) orderly() (took float64) {
	m.t.Helper()
	m.want("systemctl is-active snapsource", "active")
	m.want(`until systemctl show -P ExecMainExitTimestampMonotonic snapsource-warm | grep -qvx 0; do sleep 0.2; done
systemctl show -P ExecMainStatus snapsource-warm; snapsource status --local | grep -o 'warm .*'`, "0\nwarm       no hot set, done")
	m.want("systemctl --failed --plain --no-legend", "")
	m.journaled()
	mounted := m.seconds("systemctl show -P ActiveEnterTimestampMonotonic snapsource") / 1e6
	if reads := m.seconds("systemctl show -P InactiveExitTimestampMonotonic app") / 1e6; reads < mounted {
		m.t.Errorf("the application started at %.3f s, the Source was there at %.3f s", reads, mounted)
	}
	began := m.seconds("systemctl show -P InactiveExitTimestampMonotonic snapsource") / 1e6
	blame := m.run("systemd-analyze blame | grep snapsource")
	m.t.Logf("unit: the Source is mounted %.1f s after the kernel's start, of which snapsource up took %.1f s (systemd-analyze blame: %s)", mounted, mounted-began, blame)
	return mounted - began
}

// journaled checks the entries that up has sent to the journal: docs/metrics.md has their ids.
func (m *machine) journaled() {
	m.t.Helper()
	volume := m.volumes()[0]
	for _, entry := range []string{
		"MESSAGE_ID=f1500be94483441a860eebef49dfacf8 SNAPSOURCE_STEP=announce SNAPSOURCE_RESULT=done",
		"MESSAGE_ID=9e6e073fee7a4d6e8b8fc8f213a77e9a SNAPSOURCE_STATE=ready SNAPSOURCE_EXIT_CODE=0",
	} {
		m.want("journalctl -b -q -o cat --output-fields=SNAPSOURCE_VOLUME _SYSTEMD_UNIT=snapsource.service SNAPSOURCE_COMMAND=up "+entry+" | sort -u", volume)
	}
}

func (m *machine) seconds(script string) float64 {
	m.t.Helper()
	s, err := strconv.ParseFloat(m.run(script), 64)
	check(m.t, err)
	return s
}
