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

// guardArgument, as the first one, makes a process a guard; the second is the limit.
const guardArgument = "--thaw-guard"

// What a guard has open beside its standard files, as exec.Cmd.ExtraFiles begins at
// 3.
const (
	guardDir    = 3 // a directory of the file system
	guardParent = 4 // a socket that breaks when the process that freezes ends
)

const (
	// guardStart bounds how long a guard may take until it is ready: it is this
	// very program, which is there in some 20 ms.
	guardStart = 5 * time.Second

	// thawRetry is how often a guard tries again while a freeze is under way,
	// whose end no event tells.
	thawRetry = 20 * time.Millisecond

	// thawTries bounds the tries of a guard whose parent is gone, when the kernel
	// fails to thaw: after 10 s more of them will not help either.
	thawTries = 500
)

// guard is a process that thaws when the one that froze can't.
type guard struct {
	cmd    *exec.Cmd
	parent *os.File      // our end of the socket; nobody else has it
	ended  chan struct{} // closed when the process is gone
}

// startGuard starts a guard for the file system that dir is in, and waits until it
// is on its watch. It has a session of its own, so that no signal to our group
// reaches it, and needs nothing that could be in the frozen file system.
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
	theirs.Close() // or we would not see it end before it is ready
	g := &guard{cmd: cmd, parent: ours, ended: make(chan struct{})}
	go func() { // ends with the process, which stop or leave see to
		_ = cmd.Wait() // that it has ended is all that counts
		close(g.ended)
	}()
	err = ours.SetReadDeadline(time.Now().Add(guardStart))
	if err == nil {
		_, err = ours.Read(make([]byte, 1))
	}
	if err != nil {
		g.stop()
		return nil, fmt.Errorf("it does not become ready: %w", err)
	}
	return g, nil
}

// stop ends the guard, which has nothing to thaw any more. A kill needs no answer
// of it and works on a stopped process too.
func (g *guard) stop() {
	_ = g.cmd.Process.Kill() // it may have ended
	g.leave()
	<-g.ended
}

// leave makes the guard thaw, as if this process had ended.
func (g *guard) leave() { g.parent.Close() }

// BeGuard makes this process the guard of a frozen file system, if [Freeze] started
// it as one, and does not return then. Programs that freeze call it first in main.
//
// A guard thaws when the process that freezes has ended, when the limit is over, and
// on any signal. It does not write to any file, and works in /.
//
// It can't when it is stopped (SIGSTOP). If the process that freezes is killed meanwhile,
// the kernel continues the guard: see [keepWatch]. What is left needs both processes
// stopped, or killed at the same moment, or a guard that is stopped within the
// milliseconds between the other's end and the thaw: whoever does that to a whole control
// group (systemctl freeze, docker pause) has it frozen until the group goes on. A second
// guard would be stopped with the first, and is not worth its 20 ms of start.
func BeGuard() {
	if len(os.Args) != 3 || os.Args[1] != guardArgument {
		return
	}
	limit, err := time.ParseDuration(os.Args[2])
	if err != nil {
		os.Exit(1)
	}
	dir := os.NewFile(guardDir, "frozen")
	keepWatch(dir, os.NewFile(guardParent, "parent"), limit)
	dir.Close() // and with it the lock: ending may take a while (1 s under the race detector)
	os.Exit(0)
}

// deadly are the signals that would end a guard and that it can catch. Those that
// Go's runtime sends to itself, or that mean a fault of its own, are not among them.
var deadly = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGALRM, unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR, unix.SIGXCPU,
}

func keepWatch(dir, parent *os.File, limit time.Duration) {
	// The kernel kills others first when memory is short. Where it may not be set,
	// the parent still sees a guard end.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	// The kernel sends it when the parent ends: a guard that is stopped goes on, and sees
	// that it is alone. It is sent too when the thread ends that started the guard; then
	// nothing comes of it. (prctl(2), PR_SET_PDEATHSIG) It is set here, as an execve of a
	// file with capabilities clears it. Without it a stopped guard stays stopped.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, deadly...)
	gone := make(chan struct{})
	go func() { // ends with the process
		_, _ = parent.Read(make([]byte, 1)) // the parent never writes
		close(gone)
	}()
	late := time.After(limit)
	normal := paceIsNormal()
	if _, err := parent.Write([]byte{1}); err != nil {
		return // the parent has ended, and has frozen nothing
	}
	select {
	case <-gone:
	case <-late:
	case <-signals:
	}
	thawFor(dir, gone)
	if normal {
		restorePace() // the parent may have died before it could
	}
}

// thawFor thaws. While the parent lives, what is not frozen may be about to be: the
// kernel does not thaw what it is still freezing. The parent's end of the socket is
// closed only when it is out of that ioctl.
func thawFor(dir *os.File, gone <-chan struct{}) {
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
