package warm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/agent/failure"
	"snapsource/mountfs"
)

func newPass(d *fakeDevice, p *pacer) *pass {
	return &pass{reader: d, size: fakeSize, pacer: p, done: func(tally) {}}
}

// all is the first n bytes.
func all(n int64) []mountfs.Range { return []mountfs.Range{{Length: n}} }

// TestPass: everything is read once, in units of one block, and no block by two reads at once.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDevice(64, 100*time.Millisecond)
		got, err := newPass(d, newPacer(false, 0)).run(t.Context(), inOrder(all(1<<30)))
		if err != nil {
			t.Fatal(err)
		}
		if read := mountfs.MergeRanges(d.read); len(read) != 1 || read[0] != all(1 << 30)[0] || got.bytes != 1<<30 {
			t.Errorf("read %v, counted %d", read, got.bytes)
		}
		if got.units != 2048 || got.end != 1<<30 || got.failed != 0 || d.twice != 0 {
			t.Errorf("%+v, %d blocks twice", got, d.twice)
		}
		if d.most < 64 || d.most > mostInFlight {
			t.Errorf("%d reads in flight, of which the device serves 64 at once", d.most)
		}
	})
}

// TestPassRate: the operator's limit holds over any two seconds.
func TestPassRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDevice(64, 20*time.Millisecond)
		start := time.Now()
		if _, err := newPass(d, newPacer(true, 10<<20)).run(t.Context(), inOrder(all(100<<20))); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("100 MiB at 10 MiB/s took %s", took)
		}
	})
}

// TestPassFailures: reads that fail are counted, and the others go on; when all fail, it ends.
func TestPassFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDevice(64, 20*time.Millisecond)
		d.fail = func(offset int64) error {
			if offset/mountfs.EBSBlock%10 == 3 {
				return unix.EIO
			}
			return nil
		}
		got, err := newPass(d, newPacer(true, 0)).run(t.Context(), inOrder(all(50<<20)))
		if err != nil || got.failed != 20 || got.bytes != 45<<20 || !errors.Is(got.err, unix.EIO) || got.units != 100 {
			t.Errorf("%+v, %v", got, err)
		}
		d.fail = func(int64) error { return unix.ENXIO }
		got, err = newPass(d, newPacer(true, 0)).run(t.Context(), inOrder(all(1<<30)))
		if !errors.Is(err, failure.ErrTemporary) || got.failed > 2*failuresMax {
			t.Errorf("detached: %+v, %v", got, err)
		}
		time.Sleep(time.Second) // the workers end with their reads
	})
}

// TestPassStalls: a device that does not respond ends the pass after a while, and a canceled
// context at once.
func TestPassStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDevice(64, 20*time.Millisecond)
		d.latency = func() time.Duration { return time.Hour }
		start := time.Now()
		_, err := newPass(d, newPacer(true, 0)).run(t.Context(), inOrder(all(1<<30)))
		if !errors.Is(err, failure.ErrTemporary) || time.Since(start) != stallTimeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start = time.Now()
		_, err = newPass(d, newPacer(true, 0)).run(ctx, inOrder(all(1<<30)))
		if !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		time.Sleep(100 * time.Hour) // the workers end with their reads
	})
}

// TestPassYields: while others read, the pass leaves them half of the device's slots and of its
// throughput.
func TestPassYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(yields bool, others int64) time.Duration {
			d := newFakeDevice(32, 50*time.Millisecond)
			d.others = others
			start := time.Now()
			if _, err := newPass(d, newPacer(yields, 0)).run(t.Context(), inOrder(all(1<<30))); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		alone := took(true, 0)
		if hot := took(false, 1); hot > alone*11/10 {
			t.Errorf("without yielding: %s, alone %s", hot, alone)
		}
		if beside := took(true, 1); beside < alone*3/2 || beside > alone*12 {
			t.Errorf("beside others: %s, alone %s", beside, alone)
		}
	})
}
