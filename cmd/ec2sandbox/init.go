//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// initArg makes the program an instance's pid 1.
const initArg = "__init"

// The pipes of an instance's pid 1.
const (
	initOrders = 3 // an initConfig, and later one byte to start
	initReport = 4 // closed when ready; text on it is an error
)

// initConfig configures an instance's pid 1.
type initConfig struct {
	Name   string // host name
	State  string
	Layers string // of the root file system
	Merged string // an empty directory, on which the root file system is mounted
	Dir    string // working directory
	Env    []string
	Argv   []string
}

// initMain is an instance's pid 1: it builds the instance around itself, reports that it is
// ready, waits for the order to start, runs the command, and reaps orphans. All other
// processes of the instance end with it.
func initMain() int {
	orders, report := os.NewFile(initOrders, "orders"), os.NewFile(initReport, "report")
	unix.CloseOnExec(initOrders)
	unix.CloseOnExec(initReport)
	signals, _ := notifySignals()
	var config initConfig
	decoder := json.NewDecoder(orders)
	err := decoder.Decode(&config)
	if err == nil {
		err = config.boot()
	}
	if err != nil {
		fmt.Fprint(report, err)
		return exitInternal
	}
	report.Close()
	// Any byte after the config means start; EOF means that the parent ended.
	rest := io.MultiReader(decoder.Buffered(), orders)
	if !sawGo(rest) {
		return exitInternal
	}
	return config.runCommand(signals)
}

// goOrder starts the command.
const goOrder = '!'

func sawGo(orders io.Reader) bool {
	buf := make([]byte, 1)
	for {
		if _, err := io.ReadFull(orders, buf); err != nil {
			return false
		}
		if buf[0] == goOrder {
			return true
		}
	}
}

func (c initConfig) boot() error {
	old := unix.Umask(0)
	defer unix.Umask(old)
	if err := (rootFS{layers: c.Layers, merged: c.Merged}).build(c.State); err != nil {
		return err
	}
	if err := installWrapper(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(c.Name)); err != nil {
		return fmt.Errorf("set the host name %s: %w", c.Name, err)
	}
	if err := unix.Chdir(c.Dir); err != nil {
		return fmt.Errorf("enter %s, where you are, on the instance: %w", c.Dir, err)
	}
	return nil
}

// runCommand runs the command, passes signals on, and waits for it. Its caller must be pid
// 1, which inherits all orphans.
func (c initConfig) runCommand(signals <-chan os.Signal) int {
	path, err := findCommand(c.Argv[0], c.Env)
	var pid int
	if err == nil {
		pid, err = syscall.ForkExec(path, c.Argv, &syscall.ProcAttr{Env: c.Env, Files: []uintptr{0, 1, 2}})
	}
	if err != nil {
		complain("run %s: %v", filepath.Clean(c.Argv[0]), err)
		return startFailure(err)
	}
	go func() { // ends with the process
		for sig := range signals {
			passSignal(sig, pid)
		}
	}()
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			complain("wait for %s: %v", c.Argv[0], err)
			return exitInternal
		case ended == pid:
			return exitCode(status)
		}
	}
}
