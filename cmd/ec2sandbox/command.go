//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Exit codes of a command that could not be started, as in shells.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // plus the signal's number
)

// findCommand returns the path of a command, searched in the PATH of its own environment.
func findCommand(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	var path string
	for _, entry := range env {
		if value, has := strings.CutPrefix(entry, "PATH="); has {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if candidate := filepath.Join(dir, name); executable(candidate) == nil {
			return candidate, nil
		}
	}
	return "", fs.ErrNotExist
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return unix.EISDIR
	}
	return unix.Access(path, unix.X_OK)
}

// startFailure returns the exit code for a command that could not be started.
func startFailure(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return exitNotFound
	}
	return exitNotExecutable
}

// notifySignals starts to catch the signals that are passed on to the command. A signal
// typed on a terminal also reaches the command directly, because it is in the terminal's
// foreground group like us: it is caught but not passed on.
func notifySignals() (<-chan os.Signal, func()) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGCONT)
	return signals, func() { signal.Stop(signals) }
}

// passSignal sends a caught signal to a process.
func passSignal(sig os.Signal, pid int) {
	number := sig.(unix.Signal)
	typed := number == unix.SIGINT || number == unix.SIGQUIT
	if typed && inForeground() {
		return
	}
	_ = unix.Kill(pid, number) // it may have ended by now
}

// inForeground says whether we are in the foreground group of a terminal.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// exitCode returns a shell's exit code for the end of a process.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return status.ExitStatus()
}

func complain(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "ec2sandbox: "+format+"\n", args...)
}
