//go:build unix

package ec2test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the files of a Store in a directory.
const (
	worldFile  = "world.json"
	lockFile   = "world.lock"
	ledgerFile = "calls.jsonl"
)

// lockTimeout bounds the wait for the World's lock. It is held while one small file is read
// and written, never while data is copied.
const lockTimeout = 30 * time.Second

// lockPoll is the poll interval for the lock: flock has no deadline, and no event reports a
// release.
const lockPoll = 2 * time.Millisecond

// Dir is a Store in a directory that any number of processes may share. It replaces the
// World by rename, so a killed writer never leaves half a file.
type Dir struct {
	path string
}

// OpenDir returns the Store in a directory, which must exist. An empty directory is an
// empty World.
func OpenDir(path string) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open the world's directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open the world's directory: %s is not a directory", path)
	}
	return &Dir{path: path}, nil
}

// View implements [Store]. It takes no lock, because files are replaced whole.
func (d *Dir) View(_ context.Context, see func(*World) error) error {
	w, err := d.read()
	if err != nil {
		return err
	}
	return see(w)
}

// Update implements [Store].
func (d *Dir) Update(ctx context.Context, change func(*World) error) error {
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	w, err := d.read()
	if err != nil {
		return err
	}
	if err := change(w); err != nil {
		return err
	}
	return d.write(w)
}

// Record implements [Store].
func (d *Dir) Record(_ context.Context, c Call) error {
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode call %s: %w", c.Action, err)
	}
	f, err := os.OpenFile(filepath.Join(d.path, ledgerFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("record call %s: %w", c.Action, err)
	}
	// The newline comes first, so that a line truncated by a crash ends where the next one
	// starts.
	_, err = f.Write(append([]byte("\n"), line...))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("record call %s: %w", c.Action, err)
	}
	return nil
}

// Calls implements [Store]. It skips a line truncated by a crash.
func (d *Dir) Calls(context.Context) ([]Call, error) {
	f, err := os.Open(filepath.Join(d.path, ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger of calls: %w", err)
	}
	defer f.Close()
	var calls []Call
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c Call
		if json.Unmarshal(lines.Bytes(), &c) == nil {
			calls = append(calls, c)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the ledger of calls: %w", err)
	}
	return calls, nil
}

func (d *Dir) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.path, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the world: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s, held by another process: %w", f.Name(), ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

func (d *Dir) read() (*World, error) {
	data, err := os.ReadFile(filepath.Join(d.path, worldFile))
	if errors.Is(err, fs.ErrNotExist) {
		return newWorld(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the world: %w", err)
	}
	var w World
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("read the world in %s: %w", d.path, err)
	}
	return w.filled(), nil
}

func (d *Dir) write(w *World) error {
	data, err := json.MarshalIndent(w, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the world: %w", err)
	}
	f, err := os.CreateTemp(d.path, worldFile+".*")
	if err != nil {
		return fmt.Errorf("write the world: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(d.path, worldFile))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write the world: %w", err)
	}
	return nil
}
