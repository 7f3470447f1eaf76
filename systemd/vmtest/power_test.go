//go:build vm

package vmtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// rootPARTUUID is the id of the partition that the kernel boots from.
const rootPARTUUID = "5ca1ab1e-0000-4000-8000-00000000ec20"

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
			args = append(args, "-drive", "if=none,id="+v.ID+",format=raw,file="+m.lab.disks.image(v.ID),
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

// down ends the machine in an orderly way: by systemctl poweroff, or reboot, at which QEMU
// ends too. The shell is among what systemctl stops, so it may not answer.
func (m *machine) down(how string) {
	m.t.Helper()
	_, _, _ = m.ask("systemctl --no-block " + how)
	m.waitOff()
}
