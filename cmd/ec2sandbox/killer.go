//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// killer kills the calling process of an instance, for the kill faults.
type killer struct {
	init atomic.Int64 // pid of the instance's pid 1; 0 before it runs
}

func (k *killer) boot(pid int) { k.init.Store(int64(pid)) }

// kill kills the process that has the other end of a connection to us.
func (k *killer) kill(clientAddr string) error {
	inode, err := socketInode(clientAddr)
	if err != nil {
		return err
	}
	pids, err := k.holders("socket:[" + inode + "]")
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		if _, err := socketInode(clientAddr); err != nil {
			return err // it was closed meanwhile
		}
		return fmt.Errorf("no process of the instance has the connection from %s", clientAddr)
	}
	var errs []error
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill pid %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// socketInode finds the socket with a local address (proc_pid_net(5)).
func socketInode(address string) (string, error) {
	local, err := netip.ParseAddrPort(address)
	if err != nil {
		return "", fmt.Errorf("client address: %w", err)
	}
	ip := local.Addr().As4()
	// The kernel prints the address as one number in host byte order, which is
	// little-endian on EC2's architectures.
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], local.Port())
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", fmt.Errorf("find the connection from %s: %w", address, err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[1] == want && fields[9] != "0" {
			return fields[9], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("find the connection from %s: %w", address, err)
	}
	return "", fmt.Errorf("find the connection from %s: %w", address, ec2test.ErrGone)
}

// holders returns the processes of the instance that have a file open.
func (k *killer) holders(file string) ([]int, error) {
	init := k.init.Load()
	if init == 0 {
		return nil, errors.New("the instance is not running")
	}
	space := namespace(int(init))
	if space == "" {
		return nil, errors.New("the instance has ended")
	}
	processes, err := members(space)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, pid := range processes {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			return nil, fmt.Errorf("list open files: %w", err)
		}
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil && target == file {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, nil
}
