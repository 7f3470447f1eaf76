package mountfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guardArgument is the first argument of a guard process; the second is the limit.
const guardArgument = "--thaw-guard"

// A guard's descriptors beside the standard ones: exec.Cmd.ExtraFiles start at 3.
const (
	guardDir    = 3 // a directory of the file system
	guardParent = 4 // a socket that closes when the freezing process ends
)

const (
	// guardStart bounds a guard's start. It is this program, which starts in some 20 ms.
	guardStart = 5 * time.Second

	// thawRetry is the pause between a guard's attempts to thaw during a freeze; no event
	// reports the end of a freeze.
	thawRetry = 20 * time.Millisecond

	// thawTries bounds the attempts of a guard whose parent has ended, if the kernel fails
	// to thaw: after 10 s more attempts will not help.
	thawTries = 500
)

// guard is a process that thaws if the freezing process can't.
type guard struct {
	cmd    *exec.Cmd
	parent *os.File      // our end of the socket; no other process has it
	ended  chan struct{} // closed when the process has ended
}

// startGuard starts a guard for the file system of dir and waits until it is ready. The
// guard has a session of its own, so signals to our process group do not reach it, and it
// needs nothing that could be in the frozen file system.
func startGuard(dir *os.File, limit time.Duration) (*guard, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "guard"), os.NewFile(uintptr(ends[1]), "parent")
	defer theirs.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"snapsource", guardArgument, limit.String()}, Dir: "/",
		ExtraFiles:  []*os.File{dir, theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	theirs.Close() // or we would not notice that it ends before it is ready
	g := &guard{cmd: cmd, parent: ours, ended: make(chan struct{})}
	go func() { // ends with the process, which stop or leave see to
		_ = cmd.Wait() // only its end matters
		close(g.ended)
	}()
	err = ours.SetReadDeadline(time.Now().Add(guardStart))
	if err == nil {
		_, err = ours.Read(make([]byte, 1))
	}
	if err != nil {
		g.stop()
		return nil, fmt.Errorf("it does not get ready: %w", err)
	}
	return g, nil
}

// stop ends the guard when there is nothing left to thaw. A kill needs no response and also
// works on a stopped process.
func (g *guard) stop() {
	_ = g.cmd.Process.Kill() // it may have ended
	g.disconnect()
	<-g.ended
}

// disconnect makes the guard thaw, as if this process had ended.
func (g *guard) disconnect() { g.parent.Close() }

// RunGuard runs this process as the guard of a frozen file system, if [Freeze] started it as
// one, and does not return then. Programs that freeze call it first in main.
//
// A guard thaws when the freezing process has ended, after the limit, and on any signal. It
// writes to no file, and its working directory is /.
//
// A stopped guard (SIGSTOP) can't thaw. If the freezing process is killed then, the kernel
// continues the guard: see [runGuard]. The file system stays frozen only if both processes
// are stopped, or killed at the same moment, or if the guard is stopped within the
// milliseconds between the other's end and the thaw. Stopping a whole control group
// (systemctl freeze, docker pause) does that, until the group is continued. A second guard
// would be stopped with the first, and is not worth its 20 ms of start.
func RunGuard() {
	if len(os.Args) != 3 || os.Args[1] != guardArgument {
		return
	}
	limit, err := time.ParseDuration(os.Args[2])
	if err != nil {
		os.Exit(1)
	}
	dir := os.NewFile(guardDir, "frozen")
	runGuard(dir, os.NewFile(guardParent, "parent"), limit)
	dir.Close() // and release the lock: the exit may take a while (1 s under the race detector)
	os.Exit(0)
}

// fatalSignals are the signals that would end a guard and that it can catch, except those
// that Go's runtime sends to itself or that mean a fault of its own.
var fatalSignals = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGALRM, unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR, unix.SIGXCPU,
}

func runGuard(dir, parent *os.File, limit time.Duration) {
	// The OOM killer picks others first. Where this can't be set, the parent still notices
	// that a guard ends.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	// The kernel sends SIGCONT when the parent ends, so a stopped guard continues and sees
	// that the parent is gone. It also sends it when the thread that started the guard
	// ends; that has no effect. (prctl(2), PR_SET_PDEATHSIG) The guard sets it itself,
	// because an execve of a file with capabilities clears it. Without it a stopped guard
	// stays stopped.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, fatalSignals...)
	gone := make(chan struct{})
	go func() { // ends with the process
		_, _ = parent.Read(make([]byte, 1)) // the parent never writes
		close(gone)
	}()
	late := time.After(limit)
	normal := rcuIsNormal()
	if _, err := parent.Write([]byte{1}); err != nil {
		return // the parent has ended without freezing anything
	}
	select {
	case <-gone:
	case <-late:
	case <-signals:
	}
	retryThaw(dir, gone)
	if normal {
		restoreRCU() // the parent may have ended before it could
	}
}

// retryThaw retries until it has thawed. While the parent lives, a freeze may still be in
// progress, and the kernel does not thaw until it is complete. The parent's end of the
// socket closes only after that ioctl.
func retryThaw(dir *os.File, gone <-chan struct{}) {
	for tries := 0; tries < thawTries; {
		over := false
		select {
		case <-gone:
			over = true
			tries++
		default:
		}
		err := thaw(dir)
		if err == nil || over && errors.Is(err, ErrThawed) {
			return
		}
		time.Sleep(thawRetry)
	}
}
