//go:build linux

package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"snapsource/systemd"
)

// unitText returns the text of a unit: systemd.Unit or systemd.WarmUnit.
func unitText(t *testing.T, of func(program string) (string, error)) string {
	t.Helper()
	unit, err := of("/usr/bin/snapsource")
	if err != nil {
		t.Fatal(err)
	}
	return unit
}

// unitValues returns all values of a setting in the text of a unit, in order.
func unitValues(t *testing.T, unit, key string) []string {
	t.Helper()
	var values []string
	for line := range strings.Lines(unit) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		t.Fatalf("the unit has no %s", key)
	}
	return values
}

// deployHome is the hardest case for the mountpoints: they are another user's.
const deployHome = `
mkdir -p /home/deploy/codepen
chown -R 1234:1234 /home/deploy
chmod 700 /home/deploy
`

// TestUnitCapabilities: init and up work with the capabilities that the unit leaves,
// and don't with one less.
func TestUnitCapabilities(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	left := capabilities(t, unitText(t, systemd.Unit))
	s.run("web-1", deployHome+confined(left)+"snapsource init\necho one >/home/deploy/codepen/RELEASE"+takeSnapshot)
	if out := s.run("web-2", deployHome+confined(left)+"snapsource up\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(out, "one\n") {
		t.Errorf("with the unit's capabilities:\n%s", out)
	}
	for i, name := range left {
		fewer := slices.Delete(slices.Clone(left), i, i+1)
		if out, code := s.try("web-2"+strings.TrimLeft(name, "+"), deployHome+confined(fewer)+"snapsource up"); code == 0 {
			t.Errorf("works without %s, which the unit need not leave:\n%s", name, out)
		}
	}
}

// capabilities returns those that a unit leaves, as setpriv takes them.
func capabilities(t *testing.T, unit string) (left []string) {
	t.Helper()
	for _, name := range strings.Fields(unitValues(t, unit, "CapabilityBoundingSet")[0]) {
		left = append(left, "+"+strings.ToLower(strings.TrimPrefix(name, "CAP_")))
	}
	return left
}

// confined is what precedes a command that is to have only these capabilities.
func confined(caps []string) string {
	return "setpriv --no-new-privs --inh-caps=-all --bounding-set=-all," + strings.Join(caps, ",") + " "
}

// TestWarmUnit: warm works with the capabilities and the system calls that its unit leaves, and
// not with one capability less.
func TestWarmUnit(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	unit := unitText(t, systemd.WarmUnit)
	left := capabilities(t, unit)
	s.run("web-1", strings.Replace(releaseWithHotSet, "mkdir cold", "chown 1234:1234 /cp\nchmod 700 /cp\nmkdir cold", 1))
	out := s.run("web-2", "snapsource up -q --warm none\n"+confined(left)+"snapsource warm\n"+traced("snapsource warm --again"))
	report, calls, found := strings.Cut(out, "Source is warm")
	if !found || !strings.Contains(report, "read hot") || strings.Contains(report, "no hot set") || strings.Contains(report, "note:") {
		t.Errorf("with the unit's capabilities:\n%s", out)
	}
	if names := checkAllowed(t, unit, calls[strings.Index(calls, "\n"):]); !slices.Contains(names, "ioprio_set") {
		t.Errorf("the trace can't be whole: %s", names)
	}
	for i, name := range left {
		fewer := slices.Delete(slices.Clone(left), i, i+1)
		out, code := s.try("web-2", "snapsource up -q --warm none\n"+confined(fewer)+"snapsource warm --again")
		if code == 0 && !strings.Contains(out, "note:") {
			t.Errorf("works without %s, which the unit need not leave:\n%s", name, out)
		}
	}
}

// traced is a command whose output is the system calls that it makes.
func traced(what string) string {
	return "strace -f -qq -o /run/trace " + what + " >/dev/null\nsed -nE 's/^[0-9]+ +([a-z0-9_]+)\\(.*/\\1/p' /run/trace | sort -u\n"
}

// TestUnitSystemCalls: what init and up call of the kernel, mkfs.xfs included, is let
// through by the unit's filter.
func TestUnitSystemCalls(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	out := s.run("web-1", traced("snapsource init"))
	s.run("web-1", takeSnapshot)
	out += s.run("web-2", traced("snapsource up --warm none")) // another unit reads the volume
	calls := checkAllowed(t, unitText(t, systemd.Unit), out)
	if len(calls) < 50 || !slices.Contains(calls, "mount") || !slices.Contains(calls, "fadvise64") {
		t.Errorf("%d calls; the trace can't be whole: %s", len(calls), calls)
	}
	t.Logf("%d different system calls", len(calls))
}

// checkAllowed checks that a unit's filter lets these system calls through, and returns them
// sorted.
func checkAllowed(t *testing.T, unit, names string) []string {
	t.Helper()
	allowed := map[string]bool{}
	for _, list := range append([]string{"@default"}, unitValues(t, unit, "SystemCallFilter")...) {
		list, without := strings.CutPrefix(list, "~")
		for _, name := range strings.Fields(list) {
			for _, call := range systemCalls(t, name) {
				allowed[call] = !without
			}
		}
	}
	if slices.Contains(strings.Fields(unit), "RestrictSUIDSGID=yes") {
		allowed["openat2"] = false // as a filter can't see the mode that it is given
	}
	if !allowed["read"] || allowed["chown"] {
		t.Fatal("the filter was not understood")
	}
	calls := strings.Fields(names)
	slices.Sort(calls)
	calls = slices.Compact(calls)
	for _, call := range calls {
		if !allowed[call] {
			t.Errorf("%s is called, and not let through", call)
		}
	}
	return calls
}

// systemCalls returns the calls of a group, and those of the groups in it.
func systemCalls(t *testing.T, name string) []string {
	t.Helper()
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "syscall-filter", name).Output()
	if err != nil {
		t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
	}
	var calls []string
	for line := range strings.Lines(string(out)) {
		word := strings.TrimSpace(line)
		if word != name && !strings.HasPrefix(word, "#") && word != "" {
			calls = append(calls, systemCalls(t, word)...)
		}
	}
	return calls
}

// mostExposed is what "systemd-analyze security" may say. The rest of the way to its
// better grades leads through mount namespaces, no network and no openat2.
const mostExposed = 4.2

var (
	exposure = regexp.MustCompile(`Overall exposure level for [a-z-]+.service: ([0-9.]+)`)
	costly   = regexp.MustCompile(`(?m)^✗.*$`)
)

// TestUnitSecurity measures how exposed the units are, by systemd's own scale.
func TestUnitSecurity(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip(err)
	}
	for name, of := range map[string]func(string) (string, error){systemd.UnitName: systemd.Unit, systemd.WarmUnitName: systemd.WarmUnit} {
		file := t.TempDir() + "/" + name
		text := strings.ReplaceAll(unitText(t, of), "/usr/bin/snapsource", "/bin/true")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", file).Output()
		if err != nil {
			t.Fatalf("systemd-analyze security: %v\n%s", err, out)
		}
		level := exposure.FindSubmatch(out)
		if level == nil {
			t.Fatalf("no level in\n%s", out)
		}
		for _, line := range costly.FindAll(out, -1) {
			t.Logf("%s", line)
		}
		t.Logf("%s", level[0])
		if n, err := strconv.ParseFloat(string(level[1]), 64); err != nil || n > mostExposed {
			t.Errorf("%s: exposure %s, want at most %.1f (%v)", name, level[1], mostExposed, err)
		}
	}
}

// TestInstallHere: install refuses the program where others could replace it, and takes it in
// root's own directory.
func TestInstallHere(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	out := s.run("web-1", `
program=$(sed -n 's/^exec \([^ ]*\) .*/\1/p' $(command -v snapsource))
export RUN_TEST_AS_PROGRAM=1
mkdir -m 1777 -p /tmp/download
for dir in /tmp/download /usr/local/bin; do
	rm -f $dir/snap
	cp $program $dir/snap
	echo $dir: $($dir/snap install --before puma.service 2>&1) $?
	[ ! -e /etc/systemd/system/snapsource.service ] || grep ExecStart= /etc/systemd/system/snapsource.service
done`)
	refused, installed, _ := strings.Cut(out, "/usr/local/bin: ")
	if !strings.Contains(refused, "/tmp: its mode is 1777") || strings.Contains(refused, "ExecStart") || !strings.Contains(installed, "ExecStart=/usr/local/bin/snap up\n") {
		t.Error(out)
	}
}
