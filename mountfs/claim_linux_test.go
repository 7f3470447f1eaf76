package mountfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// claimEnv makes the test binary a process that claims a file until it is ended.
const claimEnv = "TEST_CLAIMS"

// ignoreEnv makes it ignore SIGTERM.
const ignoreEnv = "TEST_IGNORES"

func claimAndWait(path string) {
	c, err := TakeClaim(path)
	if err != nil {
		os.Exit(1)
	}
	defer c.Release() //nolint:errcheck // the process ends
	if os.Getenv(ignoreEnv) != "" {
		signal.Ignore(unix.SIGTERM)
	}
	os.Stdout.WriteString("claimed\n")
	time.Sleep(time.Hour) // until it is ended
}

// claimant starts a process that has claimed a file.
func claimant(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), claimEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestClaim: one process has a claim; others see which; it ends with the process, however that
// ends, or when asked to.
func TestClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	none := func(when string) {
		t.Helper()
		if pid, err := Claimant(path); pid != 0 || err != nil {
			t.Errorf("%s: process %d, %v", when, pid, err)
		}
	}
	none("before")
	if err := EndClaimant(t.Context(), path); err != nil {
		t.Errorf("nobody to end: %v", err)
	}
	for _, end := range []func(*exec.Cmd) error{
		func(c *exec.Cmd) error { return c.Process.Kill() },
		func(*exec.Cmd) error { return EndClaimant(t.Context(), path) },
	} {
		cmd := claimant(t, path)
		if pid, err := Claimant(path); pid != cmd.Process.Pid || err != nil {
			t.Errorf("process %d, not %d: %v", pid, cmd.Process.Pid, err)
		}
		if _, err := TakeClaim(path); !errors.Is(err, ErrBusy) {
			t.Errorf("claimed twice: %v", err)
		}
		if err := end(cmd); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was ended by a signal
		none("after it has ended")
	}
	c, err := TakeClaim(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Release(); err != nil {
		t.Error(err)
	}
	none("released")
}

// TestEndClaimantStopped: a process that is stopped is ended, too, and one that ignores the signal.
func TestEndClaimantStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for _, ignores := range []string{"", "1"} {
		t.Setenv(ignoreEnv, ignores)
		cmd := claimant(t, path)
		if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := EndClaimant(t.Context(), path); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was ended by a signal
		if pid, err := Claimant(path); pid != 0 || err != nil {
			t.Errorf("process %d is left, %v", pid, err)
		}
	}
}

// TestEndClaimantGivesUp: it waits no longer than its context permits.
func TestEndClaimantGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	t.Setenv(ignoreEnv, "1")
	cmd := claimant(t, path)
	defer func() { cmd.Process.Kill(); _ = cmd.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := EndClaimant(ctx, path); !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
