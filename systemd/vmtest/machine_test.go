//go:build vm

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// How long things may take. Without hardware virtualisation a boot takes a minute on an
// idle machine, and several on one that does other things as well.
const (
	bootTimeout    = 10 * time.Minute
	commandTimeout = 5 * time.Minute
	plugTimeout    = time.Minute
)

// rootPARTUUID is the id of the partition that the kernel boots from.
const rootPARTUUID = "5ca1ab1e-0000-4000-8000-00000000ec20"

// ports is how many volumes can be plugged in.
const ports = 4

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

// power is one time from being switched on to being off.
type power struct {
	cmd     *exec.Cmd
	monitor *monitor
	test    *shell // of the tests
	ec2     *shell // by which EC2 sees whether a volume is in use
	off     chan struct{}
	plugs   sync.WaitGroup
	cancel  context.CancelFunc
	ctx     context.Context
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
	m := &machine{t: t, lab: l, Instance: i, dir: filepath.Join(l.dir, name), plugged: map[string]int{}}
	check(t, os.Mkdir(m.dir, 0o700))
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", imageFormat(image), "-b", image, m.root())
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
			l.t.Logf("the console of %s:\n%s", name, m.console())
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

// boot switches the machine on, with the volumes that EC2 says are attached.
func (m *machine) boot(kernelParameters ...string) {
	m.t.Helper()
	w, err := m.lab.server.World(m.t.Context())
	check(m.t, err)
	serial := "ec2" + strings.TrimPrefix(m.ID, "i-")[:5] + "-" + m.ID[2:6] + "-4" + m.ID[3:6] + "-8" + m.ID[4:7] + "-" + m.ID[len(m.ID)-12:]
	args := []string{
		"-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64", "-smp", "2", "-m", "1024",
		"-display", "none", "-no-reboot", "-nodefaults",
		"-kernel", m.lab.kernel,
		"-append", strings.Join(append([]string{"root=PARTUUID=" + rootPARTUUID, "rw", "console=ttyS0", "net.ifnames=0", "panic=-1"}, kernelParameters...), " "),
		"-smbios", "type=0,vendor=Amazon EC2,version=1.0",
		"-smbios", "type=1,manufacturer=Amazon EC2,product=" + m.Type + ",uuid=" + serial + ",serial=" + serial,
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,addr=0x2",
		"-chardev", "file,id=console,append=on,path=" + filepath.Join(m.dir, "console.log"), "-serial", "chardev:console",
	}
	for _, name := range []string{"test", "ec2"} {
		args = append(args, "-chardev", "socket,id="+name+",server=on,wait=off,path="+m.socket(name), "-serial", "chardev:"+name)
	}
	args = append(args, "-qmp", "unix:"+m.socket("qmp")+",server=on,wait=off")
	for p := range ports {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d,addr=0x%x", p, p+1, p+1, 0x8+p))
	}
	// The root volume's port comes after the others: a volume that is there at boot takes
	// the first name from it.
	args = append(args, "-device", "pcie-root-port,id=root-port,chassis=100,slot=100,addr=0x18",
		"-drive", "if=none,id=root,discard=unmap,file="+m.root(),
		"-device", "nvme,drive=root,bus=root-port,serial="+serialOf(m.RootVolumeID))
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.plugged)
	for _, v := range w.Volumes {
		if a := v.Attachment; a != nil && !v.Root && a.InstanceID == m.ID && a.State(time.Now()) != "detached" {
			p := m.freePort()
			m.plugged[v.ID] = p
			args = append(args, "-drive", "if=none,id="+v.ID+",format=raw,file="+m.lab.disks.volume(v.ID),
				"-device", fmt.Sprintf("nvme,id=dev-%s,drive=%s,serial=%s,bus=port%d", v.ID, v.ID, serialOf(v.ID), p))
		}
	}
	p := &power{cmd: exec.Command("qemu-system-x86_64", args...), off: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	said := new(bytes.Buffer)
	p.cmd.Stdout, p.cmd.Stderr = said, said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is killed leaves nothing
	check(m.t, m.network.start(p.cmd))
	go func() {
		defer close(p.off)
		if err := p.cmd.Wait(); err != nil && said.Len() > 0 {
			m.lab.complain("%s: QEMU: %v: %s", m.Name, err, said)
		}
		p.cancel()
	}()
	p.test, p.ec2 = newShell(m.dial(p, "test")), newShell(m.dial(p, "ec2"))
	p.monitor, err = newMonitor(p.ctx, m.dial(p, "qmp"))
	check(m.t, err)
	m.power = p
}

// serialOf is the serial number of a volume's NVMe device on EC2: its id without the dash.
func serialOf(volumeID string) string { return strings.ReplaceAll(volumeID, "-", "") }

func (m *machine) freePort() int {
	used := map[int]bool{}
	for _, p := range m.plugged {
		used[p] = true
	}
	for p := ports - 1; p >= 0; p-- {
		if !used[p] {
			return p
		}
	}
	panic("no port is free for another volume")
}

func (m *machine) socket(name string) string { return filepath.Join(m.dir, name+".sock") }

// dial connects with a socket that QEMU makes while it starts.
func (m *machine) dial(p *power, name string) net.Conn {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", m.socket(name))
		if err == nil {
			return conn
		}
		select {
		case <-p.off:
			m.t.Fatalf("QEMU has ended: %v", p.cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			m.t.Fatal(err)
		}
	}
}

// attach plugs a volume in when its time has come.
func (m *machine) attach(volumeID string) {
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p == nil {
		return // it is there at the next boot
	}
	p.plugs.Go(func() {
		v, _, err := m.lab.server.Volume(p.ctx, volumeID)
		if err != nil {
			m.lab.complain("attach %s: %v", volumeID, err)
			return
		}
		select {
		case <-time.After(time.Until(v.Attachment.Plugged)):
		case <-p.ctx.Done():
			return
		}
		m.mu.Lock()
		port := m.freePort()
		m.plugged[volumeID] = port
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(p.ctx, plugTimeout)
		defer cancel()
		err = p.monitor.do(ctx, "blockdev-add", map[string]any{
			"driver": "raw", "node-name": volumeID, "file": map[string]any{"driver": "file", "filename": m.lab.disks.volume(volumeID)},
		})
		if err == nil {
			err = p.monitor.do(ctx, "device_add", map[string]any{
				"driver": "nvme", "id": "dev-" + volumeID, "drive": volumeID, "serial": serialOf(volumeID), "bus": fmt.Sprintf("port%d", port),
			})
		}
		if err != nil && p.ctx.Err() == nil {
			m.lab.complain("attach %s: %v", volumeID, err)
		}
	})
}

// inUse is true for the guest as long as a file system of the volume is mounted.
const inUse = `for n in /sys/class/nvme/*; do
	[ "$(tr -d ' ' <$n/serial)" = %s ] && grep -q "^/dev/${n##*/}n1 " /proc/self/mounts && exit 0
done
exit 1`

// detach takes a volume out as soon as it isn't mounted: until then EC2 says busy.
func (m *machine) detach(volumeID string) {
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p == nil {
		m.lab.release(volumeID)
		return
	}
	p.plugs.Go(func() {
		for {
			_, code, err := p.ec2.run(p.ctx, fmt.Sprintf(inUse, serialOf(volumeID)))
			if p.ctx.Err() != nil {
				return
			}
			if err != nil {
				m.lab.complain("detach %s: %v", volumeID, err)
				return
			}
			if code != 0 {
				break
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-p.ctx.Done():
				return
			}
		}
		ctx, cancel := context.WithTimeout(p.ctx, plugTimeout)
		defer cancel()
		err := p.monitor.unplug(ctx, "dev-"+volumeID)
		if err == nil {
			// A device that was there at boot has a drive of the command line, which goes
			// with it; it then knows no node of this name.
			_ = p.monitor.do(ctx, "blockdev-del", map[string]any{"node-name": volumeID})
			m.mu.Lock()
			delete(m.plugged, volumeID)
			m.mu.Unlock()
			m.lab.release(volumeID)
		} else if p.ctx.Err() == nil {
			m.lab.complain("detach %s: %v", volumeID, err)
		}
	})
}

// cut cuts the power.
func (m *machine) cut() {
	m.mu.Lock()
	p := m.power
	m.power = nil
	m.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	m.gone(p)
}

func (m *machine) gone(p *power) {
	<-p.off
	p.plugs.Wait()
	p.test.close()
	p.ec2.close()
	p.monitor.close()
}

// waitOff waits until the guest has switched itself off or rebooted: QEMU ends then.
func (m *machine) waitOff() {
	m.t.Helper()
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p != nil {
		select {
		case <-p.off:
		case <-time.After(bootTimeout):
			m.t.Fatalf("%s does not go down", m.Name)
		}
		m.gone(p)
	}
	m.mu.Lock()
	m.power = nil
	m.mu.Unlock()
}

// down shuts the machine down in an orderly way.
func (m *machine) down() {
	m.t.Helper()
	m.run("systemctl --no-block poweroff")
	m.waitOff()
}

// try runs a script on the machine.
func (m *machine) try(script string) (out string, code int) {
	m.t.Helper()
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p == nil {
		m.t.Fatalf("%s is off", m.Name)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), bootTimeout)
	defer cancel()
	out, code, err := p.test.run(ctx, script)
	check(m.t, err)
	return strings.TrimSpace(out), code
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

// volumes gives the volumes of the machine that are neither its root nor deleted.
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

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		t.Fatal(err)
	}
	return string(out)
}
