//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// goingDown is how long a live run gets to take its instance down by itself
// before the instance is killed.
const goingDown = 5 * time.Second

// terminate terminates an instance: its processes end, its volumes are deleted
// or made available, and its root disk is gone.
func terminate(ctx context.Context, dir, name string) error {
	if dir == "" {
		return usage("--state is required")
	}
	if _, err := os.Stat(dir); err != nil {
		return usage("--state: %w", err)
	}
	st, err := openState(dir)
	if err != nil {
		return err
	}
	store, err := ec2test.OpenDir(st.dir)
	if err != nil {
		return err
	}
	d := &disks{state: st, store: store}
	server := newServer(store, d, runOptions{}, nil)
	d.server = server
	w, err := server.World(ctx)
	if err != nil {
		return err
	}
	self := w.Live(name, time.Now())
	if self == nil {
		return usage("terminate: no instance %q is running in %s", name, dir)
	}
	if err := server.Terminate(ctx, self.ID); err != nil {
		return fmt.Errorf("terminate %s: %w", name, err)
	}
	lock, err := awaitEnd(ctx, st, name)
	if err != nil {
		return fmt.Errorf("terminate %s: %w", name, err)
	}
	defer lock.Close()
	if err := os.RemoveAll(st.root(self.ID)); err != nil {
		return fmt.Errorf("terminate %s: remove its root disk: %w", name, err)
	}
	return nil
}

// awaitEnd waits for the end of the instance's live run, if there is one, and
// returns the instance's lock.
func awaitEnd(ctx context.Context, st state, name string) (*os.File, error) {
	begin, killed := time.Now(), false
	for {
		lock, err := st.lock(name)
		if err != nil {
			return nil, err
		}
		live, recorded, err := st.readRun(name)
		if err != nil {
			return nil, err
		}
		if lock != nil {
			if recorded {
				err = live.awaitDeath()
			}
			return lock, err
		}
		switch waited := time.Since(begin); {
		case waited > goingDown+teardownTimeout:
			return nil, fmt.Errorf("its run does not end within %v", waited.Round(time.Second))
		case waited > goingDown && !killed && recorded && live.current():
			killed = true
			if err := unix.Kill(live.Init, unix.SIGKILL); err != nil {
				return nil, fmt.Errorf("kill its init, pid %d: %w", live.Init, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}
