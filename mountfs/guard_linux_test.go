package mountfs

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// freezeAndWait, with a mountpoint, makes the test binary a program that freezes it,
// says so, and waits to be killed.
const freezeAndWait = "TEST_FREEZE_AND_WAIT"

func init() {
	os.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector sleeps a second at exit otherwise
	RunGuard()                               // the tests' guards are this binary too
	mountpoint := os.Getenv(freezeAndWait)
	if mountpoint == "" {
		return
	}
	f, err := Freeze(mountpoint, time.Minute, func() {})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("frozen")
	fmt.Println(f.guard.cmd.Process.Pid)
	select {}
}

func TestGuardLimit(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	f, lost := freeze(t, mountpoint, time.Second)
	waitFor(t, "the limit", lost)
	wantWritable(t, mountpoint, "after the limit")
	_, err := f.Thaw()
	wantError(t, err, ErrThawed)
	wantWritable(t, mountpoint, "after Thaw")
}

func TestGuardEnds(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGALRM} {
		f, lost := freeze(t, mountpoint, time.Minute)
		if err := unix.Kill(f.guard.cmd.Process.Pid, signal); err != nil {
			t.Fatal(err)
		}
		waitFor(t, signal.String(), lost)
		wantWritable(t, mountpoint, signal.String())
		_, err := f.Thaw()
		wantError(t, err, ErrThawed)
	}
}

// TestGuardStopped: a guard that can't run does not keep Thaw.
func TestGuardStopped(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	f, _ := freeze(t, mountpoint, time.Minute)
	if err := unix.Kill(f.guard.cmd.Process.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Thaw(); err != nil {
		t.Error(err)
	}
	wantWritable(t, mountpoint, "after Thaw")
}

// TestGuardOfTheKilled: whenever the process that freezes is killed, with its whole
// group, the file system is writable within a second.
func TestGuardOfTheKilled(t *testing.T) {
	needRoot(t)
	wantNormal := normalPace(t)
	mountpoint := freezable(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	start := func() (*exec.Cmd, *bufio.Reader) { return startFreezer(t, self, mountpoint) }
	kill := func(cmd *exec.Cmd) {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		cmd.Wait()
	}

	// Frozen for sure.
	cmd, out := start()
	began := time.Now()
	line, err := out.ReadString('\n')
	took := time.Since(began)
	if err != nil || line != "frozen\n" {
		kill(cmd)
		t.Fatalf("%q, %v", line, err)
	}
	if w := startWriter(t, mountpoint); w.writesWithin(blockedFor) {
		t.Error("it is not frozen")
	}
	if err := setRCUExpedited("1"); err != nil { // as if it were killed before it is frozen
		t.Logf("%s: the switch can't be written here", err)
	}
	kill(cmd)
	wantWritable(t, mountpoint, "killed while frozen")
	wantFreezable(t, mountpoint)
	wantNormal()

	for range 20 {
		cmd, _ := start()
		at := time.Duration(random.Int64N(int64(took + took/2)))
		time.Sleep(at)
		kill(cmd)
		wantWritable(t, mountpoint, fmt.Sprintf("killed after %s of %s", at, took))
		wantFreezable(t, mountpoint)
	}
}

// startFreezer starts a process that freezes and waits, in a group of its own, and gives what
// it says.
func startFreezer(t *testing.T, self, mountpoint string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), freezeAndWait+"="+mountpoint)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// TestGuardStoppedAndRunKilled: the kernel has a stopped guard go on when the process that
// froze is killed, however soon that is.
func TestGuardStoppedAndRunKilled(t *testing.T) {
	needRoot(t)
	mountpoint := freezable(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, between := range []time.Duration{0, 0, 0, 100 * time.Millisecond} {
		cmd, out := startFreezer(t, self, mountpoint)
		var line string
		var guard int
		_, err := fmt.Fscanln(out, &line)
		if err == nil && line == "frozen" {
			_, err = fmt.Fscanln(out, &guard)
		}
		if err != nil || guard == 0 {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("%q, %v", line, err)
		}
		stopped := unix.Kill(guard, unix.SIGSTOP)
		time.Sleep(between)
		killed := cmd.Process.Kill()
		if err := errors.Join(stopped, killed); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		t.Cleanup(func() {
			if t.Failed() {
				unix.Kill(guard, unix.SIGKILL)
			}
		})
		wantWritable(t, mountpoint, fmt.Sprintf("killed %s after the guard was stopped", between))
		wantFreezable(t, mountpoint)
	}
}

// normalPace turns the kernel's switch off where the host has it on all the time. wantNormal
// fails unless it is off; where it is on and can't be written, as in a container whose /sys is
// read-only, a freeze leaves it as it is, and there is nothing to fail.
func normalPace(t *testing.T) (wantNormal func()) {
	t.Helper()
	if !becomesNormal() {
		if err := setRCUExpedited("0"); err != nil {
			t.Logf("%s is on and can't be turned off: %v", rcuExpedited, err)
			return func() {}
		}
		t.Cleanup(func() { _ = setRCUExpedited("1") })
	}
	return func() {
		t.Helper()
		if !becomesNormal() {
			t.Errorf("%s is still on", rcuExpedited)
		}
	}
}

// becomesNormal waits until the kernel's switch is off: other tests of this machine
// freeze too.
func becomesNormal() bool {
	for deadline := time.Now().Add(guardStart); !rcuIsNormal(); time.Sleep(thawRetry) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// wantFreezable waits until nobody guards the file system any more: the lock that a
// guard shares ends with it.
func wantFreezable(t *testing.T, mountpoint string) {
	t.Helper()
	for deadline := time.Now().Add(guardStart); ; time.Sleep(thawRetry) {
		f, err := Freeze(mountpoint, time.Minute, func() {})
		if err == nil {
			_, err = f.Thaw()
		}
		if err == nil {
			return
		}
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
