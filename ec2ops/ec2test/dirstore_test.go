package ec2test_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

func TestDirIsShared(t *testing.T) {
	dir := t.TempDir()
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			store, err := ec2test.OpenDir(dir) // as another process would
			if err != nil {
				t.Error(err)
				return
			}
			for k := range each {
				id := fmt.Sprintf("vol-%d-%d", n, k)
				err := store.Update(t.Context(), func(w *ec2test.World) error {
					w.Volumes[id] = &ec2test.Volume{ID: id}
					return nil
				})
				if err := errors.Join(err, store.Record(t.Context(), ec2test.Call{Resource: id})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	store, err := ec2test.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.View(t.Context(), func(w *ec2test.World) error {
		if len(w.Volumes) != writers*each {
			t.Errorf("%d volumes are left of %d", len(w.Volumes), writers*each)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if calls, err := store.Calls(t.Context()); err != nil || len(calls) != writers*each {
		t.Errorf("%d calls are left of %d (%v)", len(calls), writers*each, err)
	}
}

func TestDirKeepsNothingOfAFailedUpdate(t *testing.T) {
	store, err := ec2test.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no")
	err = store.Update(t.Context(), func(w *ec2test.World) error {
		w.Volumes["vol-1"] = &ec2test.Volume{}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want the function's error", err)
	}
	if err := store.View(t.Context(), func(w *ec2test.World) error {
		if len(w.Volumes) != 0 {
			t.Error("the volume was kept")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestDirLockHasADeadline(t *testing.T) {
	store, err := ec2test.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(t.Context(), func(*ec2test.World) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return store.Update(ctx, func(*ec2test.World) error { return nil })
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline's error", err)
	}
}

func TestLedgerSurvivesATornLine(t *testing.T) {
	dir := t.TempDir()
	store, err := ec2test.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	record := func(action string) {
		t.Helper()
		if err := store.Record(t.Context(), ec2test.Call{Action: action}); err != nil {
			t.Fatal(err)
		}
	}
	record("First")
	path := filepath.Join(dir, "calls.jsonl")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	record("Torn")
	if err := os.Truncate(path, info.Size()+20); err != nil {
		t.Fatal(err)
	}
	record("Last")
	calls, err := store.Calls(t.Context())
	if err != nil || len(calls) != 2 || calls[0].Action != "First" || calls[1].Action != "Last" {
		t.Errorf("got %+v (%v), want First and Last", calls, err)
	}
}
