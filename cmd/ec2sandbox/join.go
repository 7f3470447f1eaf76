//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// joinArg makes the program become a command on the instance whose namespaces it is in.
const joinArg = "__join"

// joinProgram is the file descriptor of the program itself in that process.
const joinProgram = 3

// join runs a command on a running instance, like another shell on it. If the instance goes
// down, the command ends.
func join(live liveRun, argv []string) (int, error) {
	dir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return 0, fmt.Errorf("join the running instance: %w", err)
	}
	defer self.Close()
	// Namespaces belong to threads. This thread stays in them: it is never unlocked, and
	// ends with the process.
	runtime.LockOSThread()
	if err := enter(live); err != nil {
		return 0, fmt.Errorf("join the running instance: %w", err)
	}
	if err := os.Chdir(dir); err != nil {
		return 0, fmt.Errorf("enter %s, where you are, on the instance: %w", dir, err)
	}
	signals, stop := notifySignals()
	defer stop()
	cmd := &exec.Cmd{
		// The instance's /proc does not show us, but it shows the new process.
		Path: fmt.Sprintf("/proc/self/fd/%d", joinProgram),
		Args: append([]string{os.Args[0], joinArg}, argv...), Env: commandEnv(live.Env),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: []*os.File{self},
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("join the running instance: %w", err)
	}
	go func() { // ends with the process
		for sig := range signals {
			passSignal(sig, cmd.Process.Pid)
		}
	}()
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return 0, fmt.Errorf("wait for %s: %w", argv[0], err)
	}
	return exitCode(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))), nil
}

// joinMain is the process that becomes the command of a join. It makes sure that it ends
// with its parent: os/exec can't do that across PID namespaces.
func joinMain(argv []string) int {
	unix.CloseOnExec(joinProgram)
	// The death signal belongs to the thread, so this thread has to become the command.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		complain("tie %s to its parent: %v", argv[0], err)
		return exitInternal
	}
	// A parent outside the PID namespace has pid 0. Any other parent means that ours has
	// ended.
	if os.Getppid() != 0 {
		return exitInternal
	}
	path, err := findCommand(argv[0], os.Environ())
	if err == nil {
		err = syscall.Exec(path, argv, os.Environ())
	}
	complain("run %s: %v", argv[0], err)
	return startFailure(err)
}

// enter puts the calling thread into the namespaces of a live instance.
func enter(live liveRun) error {
	// A thread that shares its root directory with others cannot change its
	// mount namespace (setns(2)).
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	spaces := []struct {
		name string
		flag int
	}{{"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, space := range spaces {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", live.Init, space.name))
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if !live.current() { // the pid was reused, and perhaps the files too
		return errors.New("it has just gone down")
	}
	for n, space := range spaces {
		if err := unix.Setns(int(files[n].Fd()), space.flag); err != nil {
			return fmt.Errorf("enter its %s namespace: %w", space.name, err)
		}
	}
	return nil
}
