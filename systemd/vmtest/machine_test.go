//go:build vm

package vmtest

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// How long things may take. Without hardware virtualisation a boot takes a minute on an
// idle machine, and several on one that does other things as well.
const (
	bootTimeout = 10 * time.Minute
	plugTimeout = time.Minute
)

// machine is an instance as a virtual machine.
type machine struct {
	t   *testing.T
	lab *lab
	ec2test.Instance
	dir     string // of its root disk, console and sockets
	network *network
	servers []*http.Server

	mu      sync.Mutex
	plugged map[string]int // volumes, by port
	power   *power         // nil: off
}

// launch makes an instance of a machine image, and boots it.
func (l *lab) launch(t *testing.T, name, image string, o ec2test.LaunchOptions, kernelParameters ...string) *machine {
	t.Helper()
	m := l.newMachine(t, name, image, o)
	m.boot(kernelParameters...)
	return m
}

// launchVictim is launch of the machine whose power kill faults cut.
func (l *lab) launchVictim(t *testing.T, name, image string) *machine {
	t.Helper()
	m := l.newMachine(t, name, image, ec2test.LaunchOptions{})
	l.mu.Lock()
	l.victim = m
	l.mu.Unlock()
	m.boot()
	return m
}

func (l *lab) newMachine(t *testing.T, name, image string, o ec2test.LaunchOptions) *machine {
	t.Helper()
	i, err := l.server.Launch(t.Context(), name, o)
	check(t, err)
	return l.machineOf(t, i, image)
}

// machineOf makes the machine of an instance that is launched.
func (l *lab) machineOf(t *testing.T, i ec2test.Instance, image string) *machine {
	t.Helper()
	m := &machine{t: t, lab: l, Instance: i, dir: filepath.Join(l.dir, i.Name), plugged: map[string]int{}}
	check(t, os.Mkdir(m.dir, 0o700))
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", imageFormat(image), "-b", image, m.root())
	var err error
	m.network, err = newNetwork()
	check(t, err)
	for listener, handler := range map[net.Listener]http.Handler{
		m.network.metadata: l.server.IMDS(i.ID), m.network.ec2: l.server.EC2(i.ID), m.network.store: http.FileServer(http.Dir(l.store)),
	} {
		s := &http.Server{Handler: handler}
		m.servers = append(m.servers, s)
		go s.Serve(listener) //nolint:errcheck // says that it was closed
	}
	l.mu.Lock()
	l.machines[i.ID] = m
	l.mu.Unlock()
	l.t.Cleanup(func() { // not the scenario's: the next may go on with the machine
		m.cut()
		for _, s := range m.servers {
			_ = s.Close()
		}
		m.network.close()
		if l.t.Failed() {
			l.t.Logf("the console of %s:\n%s", m.Name, m.console())
		}
	})
	return m
}

// on makes the machine that of another scenario.
func (m *machine) on(t *testing.T) { m.t = t }

func imageFormat(path string) string {
	if filepath.Ext(path) == ".qcow2" {
		return "qcow2"
	}
	return "raw"
}

func (m *machine) root() string { return filepath.Join(m.dir, "root.qcow2") }

// console is all that the machine has said on its first serial port.
func (m *machine) console() string {
	text, err := os.ReadFile(filepath.Join(m.dir, "console.log"))
	if err != nil {
		return err.Error()
	}
	return string(bytes.ReplaceAll(text, []byte("\r"), nil))
}

// try runs a script on the machine.
func (m *machine) try(script string) (out string, code int) {
	m.t.Helper()
	out, code, err := m.ask(script)
	check(m.t, err)
	return strings.TrimSpace(out), code
}

// ask runs a script on the machine, whose shell may not answer.
func (m *machine) ask(script string) (out string, code int, err error) {
	m.t.Helper()
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p == nil {
		m.t.Fatalf("%s is off", m.Name)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), bootTimeout)
	defer cancel()
	return p.test.run(ctx, script)
}

// run is try for a script that must succeed.
func (m *machine) run(script string) string {
	m.t.Helper()
	out, code := m.try(script)
	if code != 0 {
		m.t.Fatalf("%s: %s: exit code %d\n%s", m.Name, script, code, out)
	}
	return out
}

// want runs a script and says if it does not print what it should.
func (m *machine) want(script, wanted string) {
	m.t.Helper()
	if out, code := m.try(script); out != wanted {
		m.t.Errorf("%s: %s: exit code %d\n got: %s\nwant: %s", m.Name, script, code, out, wanted)
	}
}

// booted waits until systemd has started all that it starts at boot, cloud-init with its
// user-data included.
func (m *machine) booted() {
	m.t.Helper()
	m.try("systemctl is-system-running --wait; cloud-init status --wait")
}

// volumes returns the volumes of the machine that are neither its root nor deleted.
func (m *machine) volumes() (ids []string) {
	m.t.Helper()
	w, err := m.lab.server.World(m.t.Context())
	check(m.t, err)
	for _, v := range w.Volumes {
		if v.Tags["snapsource:instance"] == m.ID && !v.Root && v.State(time.Now()) != "" && v.Deleted.IsZero() {
			ids = append(ids, v.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
