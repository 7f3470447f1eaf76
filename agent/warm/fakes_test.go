package warm

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/hotset"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/mountfs"
)

// fakeDevice is a device whose blocks are cold: the first read of each takes a while, and only
// so many are loaded at once.
type fakeDevice struct {
	slots   chan struct{}
	latency func() time.Duration

	mu           sync.Mutex
	warm         map[int64]bool
	loading      map[int64]bool
	twice        int // blocks that two reads load side by side
	most         int // reads in flight at once
	now          int
	read         []mountfs.Range
	reads, bytes int64
	others       int64 // reads of others for each of ours
	fail         func(offset int64) error
}

func newFakeDevice(slots int, median time.Duration) *fakeDevice {
	random := rand.New(rand.NewPCG(1, 2))
	return &fakeDevice{
		slots: make(chan struct{}, slots), warm: map[int64]bool{}, loading: map[int64]bool{},
		latency: func() time.Duration { return median/2 + time.Duration(random.Int64N(int64(median))) },
	}
}

func (d *fakeDevice) ReadAt(b []byte, offset int64) (int, error) {
	at := offset / mountfs.EBSBlock
	d.mu.Lock()
	if d.fail != nil {
		if err := d.fail(offset); err != nil {
			d.mu.Unlock()
			time.Sleep(time.Millisecond)
			return 0, err
		}
	}
	if d.now++; d.now > d.most {
		d.most = d.now
	}
	cold := !d.warm[at]
	if cold && d.loading[at] {
		d.twice++
	}
	d.loading[at] = true
	wait := d.latency()
	d.mu.Unlock()
	if cold {
		d.slots <- struct{}{}
		time.Sleep(wait)
		<-d.slots
	} else {
		time.Sleep(time.Millisecond)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now--
	d.warm[at] = true
	d.read = append(d.read, mountfs.Range{Start: offset, Length: int64(len(b))})
	d.reads += 1 + d.others
	d.bytes += int64(len(b)) * (1 + d.others)
	return len(b), nil
}

func (d *fakeDevice) Activity() (reads, bytes int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads, d.bytes, nil
}

func (d *fakeDevice) Close() error { return nil }

const fakeSize = 5 << 30

// fakeHost is a host with one source that is mounted.
type fakeHost struct {
	device   *fakeDevice
	record   record.Record
	space    mountfs.Space
	hot      []mountfs.Range
	files    []hotset.File
	cached   atomic.Int64 // bytes read through files
	now      record.Warming
	claimed  bool
	mounted  bool
	detached bool
	hangs    string // the call that has no answer for an hour
}

func (h *fakeHost) hang(call string) {
	if h.hangs == call {
		time.Sleep(time.Hour)
	}
}

func newFakeHost(d *fakeDevice) *fakeHost {
	return &fakeHost{device: d, mounted: true, record: record.Record{
		Source: "codepen-app", Volume: "vol-1", Snapshot: "snap-1", Ready: time.Now(), Major: 259, Minor: 1,
	}}
}

func (h *fakeHost) Find(mountfs.Volume) (mountfs.Device, error) {
	if h.detached {
		return mountfs.Device{}, mountfs.ErrNoDevice
	}
	return mountfs.Device{Node: "/dev/nvme1n1", Major: 259, Minor: 1, Size: fakeSize}, nil
}

func (h *fakeHost) Mounts() ([]mountfs.Mount, error) {
	if !h.mounted {
		return nil, nil
	}
	return []mountfs.Mount{{Target: "/cp", Root: "/", Major: 259, Minor: 1, FSType: "xfs"}}, nil
}

func (h *fakeHost) SpaceInUse(string) (mountfs.Space, error) {
	h.hang("SpaceInUse")
	return h.space, nil
}

func (h *fakeHost) HotSet(string, int64) (hotset.Set, bool, error) {
	h.hang("HotSet")
	return hotset.Set{Recorded: time.Unix(1, 0), Metadata: h.hot, Files: h.files}, len(h.hot) > 0, nil
}

func (h *fakeHost) OpenFiles(string) (Files, error) { return fakeFiles{h}, nil }

func (h *fakeHost) MemoryAvailable() int64 { return 1 << 40 }

// fakeFiles are the files of the hot set: the file "n" begins at the block n of the device.
type fakeFiles struct{ *fakeHost }

func (f fakeFiles) ReadCached(path string, inode uint64, b []byte, offset int64) (int, error) {
	first, err := strconv.ParseInt(path, 10, 64)
	if err != nil || inode != 7 {
		return 0, mountfs.ErrNotBelow
	}
	f.cached.Add(int64(len(b)))
	return f.device.ReadAt(b, first*mountfs.EBSBlock+offset)
}

func (fakeFiles) Close() error { return nil }

func (h *fakeHost) RecordHotSet(context.Context, string) (hotset.Summary, error) {
	return hotset.Summary{}, nil
}

func (h *fakeHost) OpenReader(mountfs.Device) (Reader, error) { return h.device, nil }

func (h *fakeHost) LoadRecord(source string) (record.Record, error) {
	if source != h.record.Source {
		return record.Record{}, fs.ErrNotExist
	}
	return h.record, nil
}

func (h *fakeHost) LoadWarming(string) (record.Warming, error) { return h.now, nil }

func (h *fakeHost) SaveWarming(_ string, w record.Warming) error {
	h.now = w
	return nil
}

func (h *fakeHost) ClaimWarming(string) (func() error, error) {
	if h.claimed {
		return nil, mountfs.ErrBusy
	}
	h.claimed = true
	return func() error { h.claimed = false; return nil }, nil
}

// run runs warm, and returns the report of the source.
func (h *fakeHost) run(t *testing.T, o Options) (*report.Source, error) {
	t.Helper()
	w := &Warm{Kernel: h, Store: h, Events: func(report.Event) {}}
	cfg := config.DefaultConfig()
	result, err := w.Run(t.Context(), cfg, o)
	if len(result.Sources) != 1 {
		t.Fatal(errors.New("no report"))
	}
	return result.Sources[0], err
}
