//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// holdArg makes the program a process that keeps a loop device.
const holdArg = "__hold"

// holdDevice is the device's file descriptor in that process.
const holdDevice = 3

// keeper keeps a loop device from clearing itself in a process of its own. Ours serves the
// requests to the device: if it held the device too and were killed, the kernel would wait in
// our exit, when it closes the device, for requests that only we can answer.
type keeper struct {
	cmd   *exec.Cmd
	input io.Closer // the process ends when it is closed, or with us
}

// keep starts the process that keeps an open device.
func keep(device *os.File) (*keeper, error) {
	cmd := exec.Command("/proc/self/exe", holdArg) //nolint:noctx // ends with its input, or with us
	cmd.ExtraFiles = []*os.File{device}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // no terminal's signals
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", device.Name(), err)
	}
	return &keeper{cmd, input}, nil
}

// Close lets go of the device. It does not wait for the end of the process, which may wait for
// requests to the device.
func (k *keeper) Close() error {
	err := k.input.Close()
	go func() { _ = k.cmd.Wait() }() // ends with the process; its result says nothing
	return err
}

// holdMain is the process that keeps a device.
func holdMain() int {
	unix.CloseOnExec(holdDevice)
	_, err := io.Copy(io.Discard, os.Stdin)
	if err != nil && !errors.Is(err, io.EOF) {
		return exitInternal
	}
	return 0
}
