//go:build vm

package vmtest

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// The addresses of an instance's network. A guest of QEMU's user network reaches the
// loopback address of QEMU's network namespace as 10.0.2.2.
const (
	metadataAddress = "169.254.169.254:80"
	ec2Address      = "127.0.0.1:8000"
	storeAddress    = "127.0.0.1:8080" // of files to download, as from S3
)

// network is a network namespace that has a loopback interface and nothing else: the
// metadata service can be at its real address in there, and nothing can leave it.
type network struct {
	metadata, ec2, store net.Listener
	thread               chan func()
}

// newNetwork makes one. Sockets belong to the namespace of the thread that makes them,
// and a child process begins in that of the thread that starts it.
func newNetwork() (*network, error) {
	n := &network{thread: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := n.make()
		made <- err
		if err != nil {
			return
		}
		for f := range n.thread {
			f()
		}
	}()
	return n, <-made
}

func (n *network) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	if len(interfaces) != 1 || interfaces[0].Name != "lo" {
		return fmt.Errorf("the network namespace has %v, want lo alone", interfaces)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	alias, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := alias.SetInet4Addr([]byte{169, 254, 169, 254}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias); err != nil {
		return fmt.Errorf("add the metadata service's address to lo: %w", err)
	}
	for address, listener := range map[string]*net.Listener{metadataAddress: &n.metadata, ec2Address: &n.ec2, storeAddress: &n.store} {
		if *listener, err = net.Listen("tcp", address); err != nil {
			return err
		}
	}
	return nil
}

// start starts a program in the network.
func (n *network) start(cmd *exec.Cmd) error {
	started := make(chan error)
	n.thread <- func() { started <- cmd.Start() }
	return <-started
}

func (n *network) close() {
	close(n.thread)
	for _, l := range []net.Listener{n.metadata, n.ec2, n.store} {
		_ = l.Close()
	}
}
