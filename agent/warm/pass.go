package warm

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"snapsource/agent/failure"
	"snapsource/mountfs"
)

const (
	// chunkSize is the size of a read in bytes: the largest I/O of an EBS volume. (AWS's guide,
	// "Amazon EBS I/O characteristics")
	chunkSize = 256 << 10
	// stallTimeout is the time without the end of any read after which a pass gives up: EBS
	// volumes usually have no I/O timeout, so a read may never end.
	stallTimeout = 60 * time.Second
	// failuresMax is the number of reads that fail in a row, after which a pass gives up: the
	// volume was detached.
	failuresMax = 256
	// samplesMax is the number of first reads whose time is reported.
	samplesMax = 16
)

// Reader reads a device.
type Reader interface {
	ReadAt(b []byte, offset int64) (int, error)
	// Activity returns the number of reads that the device has completed, and their bytes.
	Activity() (reads, bytes int64, err error)
	Close() error
}

// Files reads files into the page cache.
type Files interface {
	// ReadCached reads from the file of a path and an inode number.
	ReadCached(path string, inode uint64, b []byte, offset int64) (int, error)
	Close() error
}

// pass reads units side by side.
type pass struct {
	reader Reader
	files  Files
	size   int64 // of the device
	pacer  *pacer
	idle   bool                       // reads have the lowest I/O priority
	done   func(tally)                // called after each window, and at the end
	sample func(int64, time.Duration) // called for the first read of each of the first units

	reads, bytes atomic.Int64 // of all workers
}

// tally is what a pass has read so far.
type tally struct {
	units  int   // all of the first ones, without a gap
	end    int64 // the end of the last of these on the device
	bytes  int64 // read, of all
	reads  int64
	failed int64   // reads that failed
	rate   float64 // bytes a second in the last window
	err    error   // of the last read that failed
}

// read is the result of reading one unit.
type read struct {
	n      int // of the unit
	end    int64
	reads  int64
	failed int64
	err    error
	offset int64 // of the first read
	first  time.Duration
}

// job is a unit for a worker.
type job struct {
	n int
	u unit
}

// run reads all units. It ends early with an error if ctx ends, or if the device fails or does
// not respond. A read that fails is counted, and the next one follows.
func (p *pass) run(ctx context.Context, next units) (tally, error) {
	r := &running{pass: p, jobs: make(chan job), results: make(chan read, mostInFlight), open: map[int]read{}}
	defer close(r.jobs) // ends the workers; a read that never ends keeps its worker
	r.waiting = next()
	return r.loop(ctx, next)
}

// running is a pass that is under way. Its loop owns it.
type running struct {
	*pass
	tally
	jobs    chan job
	results chan read
	workers int
	sent    int
	flying  int
	open    map[int]read // ended, but not all before them
	waiting unit         // the next to send
	row     int          // reads that failed since one succeeded

	allowance float64 // bytes that may be sent now
	granted   time.Time
}

func (r *running) loop(ctx context.Context, next units) (tally, error) {
	stall := time.NewTimer(stallTimeout)
	defer stall.Stop()
	m := &meter{reader: r.reader}
	var tick <-chan time.Time
	for r.waiting != nil || r.flying > 0 {
		var jobs chan<- job
		var later <-chan time.Time
		if r.waiting != nil && r.flying < r.pacer.inFlight {
			if wait := r.wait(time.Now()); wait <= 0 {
				jobs = r.jobs
				r.hire()
			} else {
				later = time.After(wait)
			}
		}
		select {
		case jobs <- job{r.sent, r.waiting}:
			r.allowance -= float64(r.waiting.bytes())
			r.sent++
			r.flying++
			r.waiting = next()
		case got := <-r.results:
			stall.Reset(stallTimeout)
			r.take(got)
			if tick == nil { // the first unit has ended
				m.start(r.counted())
				tick = time.After(window)
			}
			if r.row >= failuresMax {
				return r.counted(), failure.New(failure.ErrTemporary, fmt.Sprintf("%d reads in a row failed: %v", r.row, r.err))
			}
		case <-later:
		case <-tick:
			ours, others := m.read(r.counted())
			r.pacer.measured(ours, others)
			r.rate = ours
			r.done(r.counted())
			tick = time.After(window)
		case <-stall.C:
			return r.counted(), failure.New(failure.ErrTemporary, fmt.Sprintf("no read has ended for %s", stallTimeout))
		case <-ctx.Done():
			return r.counted(), context.Cause(ctx)
		}
	}
	return r.counted(), nil
}

// counted returns the tally with what the workers have read until now. A worker may be in the
// middle of a unit, and the device counts its reads one by one, too.
func (r *running) counted() tally {
	t := r.tally
	t.bytes, t.reads = r.pass.bytes.Load(), r.pass.reads.Load()
	return t
}

// wait returns how long to wait until the rate permits the next unit.
func (r *running) wait(now time.Time) time.Duration {
	if r.pacer.rate == 0 {
		r.allowance, r.granted = 0, now
		return 0
	}
	r.allowance = min(r.allowance+r.pacer.rate*now.Sub(r.granted).Seconds(), r.pacer.rate*window.Seconds()/4)
	r.granted = now
	if r.allowance >= 0 {
		return 0
	}
	return time.Duration(-r.allowance / r.pacer.rate * float64(time.Second))
}

// hire starts a worker if all have work.
func (r *running) hire() {
	if r.workers == r.flying {
		r.workers++
		go r.work() // ends with r.jobs
	}
}

// take counts a unit that has been read.
func (r *running) take(got read) {
	r.flying--
	r.failed += got.failed
	if got.err != nil {
		r.err = got.err
	}
	if got.failed == 0 {
		r.row = 0
	} else {
		r.row += int(got.failed)
	}
	if got.n < samplesMax && got.reads > 0 && got.failed == 0 && r.sample != nil { // of the device
		r.sample(got.offset, got.first)
	}
	r.open[got.n] = got
	for {
		first, ended := r.open[r.units]
		if !ended {
			return
		}
		delete(r.open, r.units)
		r.units++
		r.end = first.end
	}
}

// work reads units until there are no more. Each read needs a thread anyway; it has an I/O
// priority of its own.
func (r *running) work() {
	runtime.LockOSThread()              // and not unlocked: the thread ends with the goroutine
	_ = mountfs.LowerIOPriority(r.idle) // without it the pacer still yields
	b, free, err := mountfs.ReadBuffer(chunkSize)
	if err == nil {
		defer free()
	}
	for j := range r.jobs {
		if err != nil {
			r.results <- read{n: j.n, failed: 1, err: err}
			continue
		}
		r.results <- r.readUnit(j, b)
	}
}

// readUnit reads the parts of a unit one after the other.
func (p *pass) readUnit(j job, b []byte) read {
	got := read{n: j.n, end: j.u[len(j.u)-1].End()}
	for _, part := range j.u {
		if part.file != nil && p.readFile(part, b) {
			continue
		}
		r := part.Aligned(p.size)
		for r.Length > 0 {
			n := min(r.Length, chunkSize)
			start := time.Now()
			_, err := p.reader.ReadAt(b[:n], r.Start)
			if got.reads+got.failed == 0 {
				got.offset, got.first = r.Start, time.Since(start)
			}
			if err != nil {
				got.failed++
				got.err = err
			} else {
				got.reads++
				p.bytes.Add(n)
				p.reads.Add(1)
			}
			r.Start, r.Length = r.Start+n, r.Length-n
		}
	}
	return got
}

// readFile reads a part through its file, and reports whether that has the part loaded. The path
// is a hint: the file may be gone, another one, or shorter by now.
func (p *pass) readFile(part part, b []byte) bool {
	for done := int64(0); done < part.Length; {
		n, err := p.files.ReadCached(part.file.Path, part.file.Inode, b[:min(part.Length-done, chunkSize)], part.at+done)
		if err != nil || n == 0 {
			return false
		}
		done += int64(n)
		p.bytes.Add(int64(n))
		p.reads.Add(1)
	}
	return true
}

// meter measures the throughput of windows.
type meter struct {
	reader       Reader
	at           time.Time
	ours         tally
	reads, bytes int64 // of the device, for everybody
	blind        bool  // these are unknown
}

func (m *meter) start(t tally) {
	m.at, m.ours = time.Now(), t
	var err error
	m.reads, m.bytes, err = m.reader.Activity()
	m.blind = err != nil
}

// othersMin is the number of reads of others in a window that count as such. Up to a few of ours
// have ended on the device but are not counted yet.
const othersMin = 8

// read returns the bytes a second since the last window, ours and those of others.
func (m *meter) read(t tally) (ours, others float64) {
	before := *m
	m.start(t)
	took := m.at.Sub(before.at).Seconds()
	ours = float64(t.bytes-before.ours.bytes) / took
	reads := (m.reads - before.reads) - (t.reads - before.ours.reads)
	if m.blind || before.blind || reads < othersMin {
		return ours, 0
	}
	return ours, max(float64((m.bytes-before.bytes)-(t.bytes-before.ours.bytes)), 1) / took
}
