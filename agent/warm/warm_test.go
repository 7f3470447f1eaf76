package warm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/hotset"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/mountfs"
)

const mib = 1 << 20

// used is a file system with 100 MiB in use, of which 20 MiB are hot.
func used(t *testing.T) *fakeHost {
	h := newFakeHost(newFakeDevice(64, 100*time.Millisecond))
	h.hot = []mountfs.Range{{Start: 300 * mib, Length: 10 * mib}, {Start: 200 * mib, Length: 10 * mib}}
	h.space = mountfs.Space{
		Metadata: []mountfs.Range{{Start: 0, Length: mib}},
		Data:     []mountfs.Range{{Start: 200 * mib, Length: 89 * mib}, {Start: 300 * mib, Length: 10 * mib}},
		Log:      []mountfs.Range{{Start: 400 * mib, Length: 10 * mib}},
	}
	return h
}

// TestOrder: the hot set is read first, then metadata, data and the log; nothing twice, nothing
// else.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := used(t)
		got, err := h.run(t, Options{Mode: config.WarmAll})
		if err != nil {
			t.Fatal(err)
		}
		read := h.device.read[:len(h.device.read)-samplesMax] // the second reads of some
		if total := mountfs.TotalLength(read); total != 110*mib || mountfs.TotalLength(mountfs.MergeRanges(read)) != total {
			t.Errorf("read %d MiB, of them %d different", total/mib, mountfs.TotalLength(mountfs.MergeRanges(read))/mib)
		}
		hot := read[:20*mib/chunkSize]
		for _, r := range hot {
			if r.Start < 200*mib || r.Start >= 310*mib || r.Start >= 210*mib && r.Start < 300*mib {
				t.Fatalf("%d MiB is read before the hot set", r.Start/mib)
			}
		}
		if log := read[len(read)-1]; log.Start < 400*mib {
			t.Errorf("the last read is of %d MiB", log.Start/mib)
		}
		if w := got.Warm; w == nil || w.State != report.WarmingDone || w.Hot.Percent != 100 || w.Used.Bytes != 90*mib || w.First < 10*w.Second {
			t.Errorf("%+v", w)
		}
		reads := len(h.device.read)
		if again, err := h.run(t, Options{Mode: config.WarmHot}); err != nil || len(h.device.read) != reads || len(again.Notes) != 1 {
			t.Errorf("the second time: %+v, %v", again, err)
		}
		if _, err := h.run(t, Options{Mode: config.WarmHot, Again: true}); err != nil || len(h.device.read) == reads {
			t.Errorf("--again reads nothing: %v", err)
		}
	})
}

// TestHotOnly: nothing but the hot set is read; a later run for all adds only the rest.
func TestHotOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := used(t)
		if _, err := h.run(t, Options{Mode: config.WarmHot}); err != nil {
			t.Fatal(err)
		}
		if h.now.Hot.Bytes != 20*mib || h.now.Used.Total != 0 {
			t.Errorf("%+v", h.now)
		}
		if _, err := h.run(t, Options{Mode: config.WarmAll}); err != nil {
			t.Fatal(err)
		}
		if h.now.Hot.Bytes != 20*mib || h.now.Used.Bytes != 90*mib {
			t.Errorf("%+v", h.now)
		}
	})
}

// TestResume: a run that was killed is continued: what is in flight is read again, at most.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, 650 * time.Millisecond} {
			h := used(t)
			ctx, cancel := context.WithTimeout(t.Context(), after)
			w := &Warm{Kernel: h, Store: h, Events: func(report.Event) {}}
			if _, err := w.Run(ctx, config.DefaultConfig(), Options{Mode: config.WarmAll}); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("after %s: %v", after, err)
			}
			cancel()
			time.Sleep(time.Second) // reads in flight end
			if _, err := h.run(t, Options{Mode: config.WarmAll}); err != nil {
				t.Fatal(err)
			}
			total, different := mountfs.TotalLength(h.device.read), mountfs.TotalLength(mountfs.MergeRanges(h.device.read))
			if different != 110*mib || total-different > 2*mostInFlight*mountfs.EBSBlock {
				t.Errorf("after %s: %d MiB, %d MiB twice", after, different/mib, (total-different)/mib)
			}
			if w := h.now; w.Ended.IsZero() || w.Hot.Bytes < 20*mib || w.Used.Percent() != 100 {
				t.Errorf("after %s: %+v", after, w)
			}
		}
	})
}

func TestDecide(t *testing.T) {
	of := func(change func(*record.Record)) record.Record {
		r := record.Record{Volume: "vol-1", Snapshot: "snap-1"}
		change(&r)
		return r
	}
	for name, tc := range map[string]struct {
		mode string
		of   record.Record
		want string
	}{
		"all":                   {config.WarmAll, of(func(*record.Record) {}), config.WarmAll},
		"hot":                   {config.WarmHot, of(func(*record.Record) {}), config.WarmHot},
		"none":                  {config.WarmNone, of(func(*record.Record) {}), config.WarmNone},
		"blank":                 {config.WarmAll, of(func(r *record.Record) { r.Snapshot = "" }), config.WarmNone},
		"fast snapshot restore": {config.WarmHot, of(func(r *record.Record) { r.Facts.FastRestored = true }), config.WarmNone},
		"a rate, all":           {config.WarmAll, of(func(r *record.Record) { r.Facts.InitializationRate = 200 }), config.WarmHot},
		"a rate, hot":           {config.WarmHot, of(func(r *record.Record) { r.Facts.InitializationRate = 200 }), config.WarmHot},
	} {
		got, why := decide(tc.mode, tc.of)
		if got != tc.want || (why != "") != (got != tc.mode) {
			t.Errorf("%s: %q, %q", name, got, why)
		}
	}
}

// TestNothingToRead: what is not mounted is an error that says what to do; what another process
// reads is none.
func TestNothingToRead(t *testing.T) {
	for name, change := range map[string]func(*fakeHost){
		"no launch": func(h *fakeHost) { h.record.Ready = time.Time{} },
		"unmounted": func(h *fakeHost) { h.mounted = false },
		"detached":  func(h *fakeHost) { h.detached = true },
	} {
		h := used(t)
		change(h)
		if _, err := h.run(t, Options{Mode: config.WarmAll}); !errors.Is(err, failure.ErrTemporary) || !strings.Contains(failure.Hint(err), "snapsource up") {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := used(t)
	h.claimed = true
	if got, err := h.run(t, Options{Mode: config.WarmAll}); err != nil || len(got.Notes) != 1 || len(h.device.read) != 0 {
		t.Errorf("claimed: %+v, %v", got, err)
	}
}

// TestDetachedMeanwhile: the volume disappears; the run ends with an error, and says so to status.
func TestDetachedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := used(t)
		gone := time.Now().Add(400 * time.Millisecond)
		h.device.fail = func(int64) error {
			if time.Now().After(gone) {
				return unix.ENXIO
			}
			return nil
		}
		h.space.Data = []mountfs.Range{{Start: 0, Length: 4 << 30}}
		got, err := h.run(t, Options{Mode: config.WarmAll})
		if !errors.Is(err, failure.ErrTemporary) || got.Warm.State != report.WarmingEnded || got.Warm.Error == "" || got.Warm.Failed == 0 {
			t.Errorf("%+v, %v", got.Warm, err)
		}
		time.Sleep(time.Second) // the workers end with their reads
	})
}

// TestNoAnswer: a file system that does not respond ends the run after a while, and a canceled
// one at once.
func TestNoAnswer(t *testing.T) {
	for _, call := range []string{"HotSet", "SpaceInUse"} {
		synctest.Test(t, func(t *testing.T) {
			h := used(t)
			h.hangs = call
			start := time.Now()
			if _, err := h.run(t, Options{Mode: config.WarmAll}); !errors.Is(err, failure.ErrTemporary) || time.Since(start) > 2*stallTimeout {
				t.Errorf("%s: after %s: %v", call, time.Since(start), err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start = time.Now()
			w := &Warm{Kernel: h, Store: h, Events: func(report.Event) {}}
			if _, err := w.Run(ctx, config.DefaultConfig(), Options{Mode: config.WarmAll}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
				t.Errorf("%s: after %s: %v", call, time.Since(start), err)
			}
			time.Sleep(2 * time.Hour) // the calls end
		})
	}
}

// TestHotFilesRead: files of the hot set are read through the page cache, and where the record no
// longer fits, from the device.
func TestHotFilesRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := used(t)
		file := func(path string, inode uint64, start int64) hotset.File {
			return hotset.File{Path: path, Inode: inode, Ranges: []mountfs.Range{{Length: mib}}, Blocks: []mountfs.Range{{Start: start, Length: mib}}}
		}
		h.hot = []mountfs.Range{{Start: 300 * mib, Length: mib / 2}}
		h.files = []hotset.File{file("3000", 7, 1500*mib), file("4000", 7, 2000*mib), file("1000", 7, 500*mib), file("gone", 7, 600*mib), file("2000", 8, 700*mib)}
		got, err := h.run(t, Options{Mode: config.WarmHot})
		if err != nil || got.Warm.Hot.Percent != 100 || got.Warm.Hot.Bytes != 5*mib+mib/2 {
			t.Fatalf("%+v, %v", got.Warm, err)
		}
		if got.Warm.First < 10*got.Warm.Second || got.Warm.Second == 0 {
			t.Errorf("a first read took %s, a second one %s", got.Warm.First, got.Warm.Second)
		}
		if read := mountfs.TotalLength(mountfs.MergeRanges(h.device.read)); h.cached.Load() != 3*mib || read != 5*mib+mib/2 {
			t.Errorf("%d bytes through files, %d bytes of the device", h.cached.Load(), read)
		}
	})
}
