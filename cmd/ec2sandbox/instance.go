//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bootTimeout bounds the setup of an instance's root file system. It takes some ten
// milliseconds; a network file system of the host may be slow.
const bootTimeout = time.Minute

// instance is an instance's pid 1 in its parent.
type instance struct {
	pid    int
	orders *os.File
	ended  <-chan int // gets the exit code, once
}

// bootInstance starts an instance's pid 1 in its own namespaces and waits until it is
// ready. It shares the host's network: the kernel sends device events only to the initial
// network namespace.
func bootInstance(ctx context.Context, config initConfig) (*instance, error) {
	orders, ordersWriter, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", config.Name, err)
	}
	report, reportWriter, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot %s: %w", config.Name, err), orders.Close(), ordersWriter.Close())
	}
	defer report.Close()
	cmd := exec.Command("/proc/self/exe", initArg) //nolint:noctx // ends with its orders pipe, or with us
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{orders, reportWriter}
	cmd.Env = config.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		// If we are killed, the whole instance is.
		Pdeathsig: unix.SIGKILL,
	}
	started, ended := make(chan error, 1), make(chan int, 1)
	go func() { // ends with the process, which bootInstance's caller ends
		// The death signal is sent when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // its result is in ProcessState
		ended <- exitCode(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus)))
	}()
	err = <-started
	err = errors.Join(err, orders.Close(), reportWriter.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot %s: %w", config.Name, err), ordersWriter.Close())
	}
	i := &instance{pid: cmd.Process.Pid, orders: ordersWriter, ended: ended}
	if err := i.awaitReady(ctx, config, report); err != nil {
		i.kill()
		<-i.ended
		i.orders.Close()
		return nil, fmt.Errorf("boot %s: %w", config.Name, err)
	}
	return i, nil
}

func (i *instance) awaitReady(ctx context.Context, config initConfig, report *os.File) error {
	deadline := time.Now().Add(bootTimeout)
	if d, has := ctx.Deadline(); has && d.Before(deadline) {
		deadline = d
	}
	if err := report.SetReadDeadline(deadline); err != nil {
		return err
	}
	if err := json.NewEncoder(i.orders).Encode(config); err != nil {
		return fmt.Errorf("give the instance its orders: %w", err)
	}
	failure, err := io.ReadAll(report)
	if err != nil {
		return fmt.Errorf("wait for the instance to be ready: %w", err)
	}
	if len(failure) > 0 {
		return errors.New(string(failure))
	}
	return nil
}

// run starts the command.
func (i *instance) run() error {
	if _, err := i.orders.Write([]byte{goOrder}); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	return nil
}

// kill ends every process of the instance.
func (i *instance) kill() {
	_ = unix.Kill(i.pid, unix.SIGKILL) // it may have ended by now
}

// dev returns the host's path of the instance's /dev.
func (i *instance) dev() string { return fmt.Sprintf("/proc/%d/root/dev", i.pid) }
