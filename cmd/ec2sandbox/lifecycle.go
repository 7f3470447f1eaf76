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

// shutdownTimeout is how long a live run may take to shut its instance down before the
// instance is killed.
const shutdownTimeout = 5 * time.Second

// terminate terminates an instance: its processes end, its volumes are deleted or detached,
// and its root disk is removed.
func terminate(ctx context.Context, dir, name string) error {
	st, server, self, err := find(ctx, dir, name)
	if err != nil {
		return err
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

// stop stops an instance: its processes end; its volumes stay attached, and its root disk
// is kept.
func stop(ctx context.Context, dir, name string) error {
	st, server, self, err := find(ctx, dir, name)
	if err != nil {
		return err
	}
	if err := server.Stop(ctx, self.ID); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	lock, err := awaitEnd(ctx, st, name)
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return lock.Close()
}

// restart starts a stopped instance; its next run boots it.
func restart(ctx context.Context, dir, name string) error {
	_, server, self, err := find(ctx, dir, name)
	if err != nil {
		return err
	}
	if state := self.State(time.Now()); state != "stopped" {
		return usage("%s is %s, not stopped", name, state)
	}
	if err := server.Start(ctx, self.ID); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// find returns the live instance with a name.
func find(ctx context.Context, dir, name string) (state, *ec2test.Server, *ec2test.Instance, error) {
	if dir == "" {
		return state{}, nil, nil, usage("--state is required")
	}
	if _, err := os.Stat(dir); err != nil {
		return state{}, nil, nil, usage("--state: %w", err)
	}
	st, err := openState(dir)
	if err != nil {
		return state{}, nil, nil, err
	}
	store, err := ec2test.OpenDir(st.dir)
	if err != nil {
		return state{}, nil, nil, err
	}
	d := &disks{state: st, store: store}
	server, err := placed(ctx, newServer(store, d, runOptions{}, nil), runOptions{name: name})
	if err != nil {
		return state{}, nil, nil, err
	}
	d.server, d.store = server, server.Store()
	w, err := server.World(ctx)
	if err != nil {
		return state{}, nil, nil, err
	}
	self := w.Live(name, time.Now())
	if self == nil {
		return state{}, nil, nil, usage("no instance %q is in %s", name, dir)
	}
	return st, server, self, nil
}

// awaitEnd waits for the end of the instance's live run, if any, and returns the instance's
// lock.
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
		case waited > shutdownTimeout+teardownTimeout:
			return nil, fmt.Errorf("its run does not end within %v", waited.Round(time.Second))
		case waited > shutdownTimeout && !killed && recorded && live.current():
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
