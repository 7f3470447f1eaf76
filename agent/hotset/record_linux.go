package hotset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/mountfs"
)

// ErrTooSlow means that the record was not written in time, as a call to the kernel did not return.
var ErrTooSlow = fmt.Errorf("the hot set was not recorded in time: %w", context.DeadlineExceeded)

const (
	// grace is how long a call to the kernel may take beyond the limit.
	grace = 500 * time.Millisecond
	// writeTimeout bounds the wait for a record that is being written. On a frozen file system
	// nothing can be written.
	writeTimeout = 3 * time.Second
	// freezeTimeout bounds the freeze by which the kernel shows whether a file system is frozen.
	freezeTimeout = 10 * time.Second
)

// Record writes the hot set of the XFS at mountpoint to its record. It walks the file system, in
// which it follows no symbolic link, enters no other mount, and opens nothing but files and
// directories; it first writes dirty data to the device, so that the files have blocks.
//
// It stops looking at the limit, counted from when the dirty data is written, and keeps what it has
// found, and of an earlier record the files that it has not reached. If ctx ends, or the kernel does
// not answer a little after the limit, the error is ErrTooSlow or that of ctx, and nothing is
// written any more. Only if the record is being written at that moment, Record waits for that, for
// some seconds. The call that has no answer goes on in the background.
//
// It does not begin on a file system that is frozen, as a write would block this process until the
// thaw, also after a signal: the error is mountfs.ErrBusy.
//
// It needs root: without, the kernel does not say what is cached. If nothing is cached, or the file
// system is read-only, no record is written, and Summary.Skipped says so. ErrPlace: the place of
// the record has been prepared by somebody else.
func Record(ctx context.Context, mountpoint string, o Options) (Summary, error) {
	if err := mountfs.CheckNotFrozen(mountpoint, freezeTimeout); err != nil {
		return Summary{}, fmt.Errorf("record the hot set of %s: %w", mountpoint, err)
	}
	return record(ctx, mountpoint, o)
}

// record is Record of a file system that was not frozen a moment ago.
func record(ctx context.Context, mountpoint string, o Options) (Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &recording{options: o, flushed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- r.run(ctx, mountpoint) }() // ends with its last call to the kernel
	late := make(chan struct{})
	go func() { // ends with ctx
		select {
		case <-ctx.Done():
			return
		case <-r.flushed:
		}
		select {
		case <-ctx.Done():
		case <-time.After(r.options.limit() + grace):
			close(late)
		}
	}()
	var err error
	select {
	case err = <-done:
		return r.result(mountpoint, err)
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-late:
		err = ErrTooSlow
	}
	return r.result(mountpoint, r.giveUp(done, err))
}

// giveUp keeps run from writing the record, and returns why. If it is being written, giveUp waits for
// the end of run, and returns its result.
func (r *recording) giveUp(done <-chan error, why error) error {
	if r.gate.close() {
		return why
	}
	select {
	case err := <-done:
		return err
	case <-time.After(writeTimeout):
		return ErrTooSlow
	}
}

func (r *recording) result(mountpoint string, err error) (Summary, error) {
	if err != nil {
		return Summary{}, fmt.Errorf("record the hot set of %s: %w", mountpoint, err)
	}
	return r.summary, nil
}

func (o Options) limit() time.Duration { return cmp.Or(o.Limit, DefaultLimit) }

func (o Options) most() int {
	if o.Max <= 0 {
		return MaxBytes
	}
	return int(min(o.Max, MaxBytes))
}

// recording is one call of Record.
type recording struct {
	options Options
	flushed chan struct{} // closed when the dirty data is written
	gate    gate
	start   time.Time // when it was closed
	set     Set
	summary Summary // read only after run has ended
}

func (r *recording) run(ctx context.Context, mountpoint string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: %w", fs.ErrPermission)
	}
	root, err := openMountpoint(mountpoint)
	if err != nil {
		return err
	}
	defer root.Close()
	if readOnly, err := r.prepare(root, mountpoint); err != nil || readOnly {
		return err
	}
	r.start = time.Now()
	close(r.flushed)
	data, err := r.collect(ctx, root)
	switch {
	case err != nil:
		return err
	case len(r.set.Files) == 0:
		r.summary.Skipped = "nothing of it is in the page cache"
	case !r.gate.enter():
		return ErrTooSlow
	default:
		r.summary.Size = len(data)
		err = write(root, data)
	}
	r.summary.Took = time.Since(r.start)
	return err
}

// prepare writes the dirty data of a file system that is not read-only.
func (r *recording) prepare(root *os.File, mountpoint string) (readOnly bool, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil {
		return false, err
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		r.summary.Skipped = "the file system is read-only"
		return true, nil
	}
	g, err := mountfs.Geometry(mountpoint)
	if err != nil {
		return false, err
	}
	r.set.Size = g.Size()
	return false, unix.Syncfs(int(root.Fd()))
}

// collect looks at the file system, and returns the record.
func (r *recording) collect(ctx context.Context, root *os.File) ([]byte, error) {
	old, _, err := load(root, r.set.Size)
	if err != nil && !errors.Is(err, ErrInvalid) {
		return nil, err
	}
	// A tenth of the time is for what is kept of an earlier record.
	end := r.start.Add(r.options.limit())
	looking, cancel := context.WithDeadline(ctx, end.Add(-r.options.limit()/10))
	defer cancel()
	w, err := newWalk(looking, root)
	if err != nil {
		return nil, err
	}
	if !r.options.ByHand {
		w.keepByHand(&old)
	}
	opened := usedFiles(looking, w.device)
	w.directory(&directory{file: root})
	w.sort(opened)
	if !w.complete {
		keeping, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		w.ctx = keeping
		w.unreached(&old)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return r.encode(w), nil
}

// keepByHand keeps the files of an earlier record that was made by hand.
func (w *walk) keepByHand(old *Set) {
	for i := range old.Files {
		f := &old.Files[i]
		if f.ByHand && w.byHand[f.Inode] == nil && w.again(f) {
			w.byHand[f.Inode] = f.Ranges
		}
	}
}

// The classes of files, in the order of the record.
const (
	classByHand  = iota
	classUsed    // open or mapped now
	classWhole   // cached as a whole
	classPartial // by the share that is cached
)

// sort puts the files in the order of the record. opened are those that a process has open or mapped.
func (w *walk) sort(opened map[uint64]bool) {
	for i := range w.found {
		f := &w.found[i]
		switch {
		case f.ByHand:
			f.class = classByHand
		case opened[f.Inode]:
			f.class = classUsed
		case f.share >= 1:
			f.class = classWhole
		default:
			f.class = classPartial
		}
	}
	sort.SliceStable(w.found, func(i, j int) bool {
		a, b := &w.found[i], &w.found[j]
		if a.class != b.class || a.class != classPartial {
			return a.class < b.class
		}
		return a.share > b.share
	})
}

// unreached keeps the files of an earlier record that were not looked at. For those that can't be
// looked up in time, the record's word is taken: at worst some blocks are read in vain.
func (w *walk) unreached(old *Set) {
	for i := range old.Files {
		f := &old.Files[i]
		if w.seen[f.Inode] || w.byHand[f.Inode] != nil {
			continue
		}
		f.ByHand = false
		if !w.again(f) && w.ctx.Err() != nil {
			w.found = append(w.found, found{File: *f})
		}
	}
}

// encode returns the record of as many of the files as fit, and sets r.set and r.summary.
func (r *recording) encode(w *walk) []byte {
	const header = 100
	var e encoder
	s, sum := &r.set, &r.summary
	s.Recorded, s.ByHand, s.Complete = r.start, r.options.ByHand, w.complete
	known := map[mountfs.Range]bool{}
	for i := range w.found {
		f := &w.found[i]
		f.ByHand = f.ByHand || r.options.ByHand
		before := len(s.Metadata)
		for _, m := range f.metadata {
			if m.Length > 0 && !known[m] {
				known[m] = true
				s.Metadata = append(s.Metadata, m)
			}
		}
		if len(s.Metadata)+e.ranges+len(f.Ranges)+len(f.Blocks) > maxRanges || !e.add(&f.File, r.options.most()-header-encodedRange*len(s.Metadata)) {
			s.Metadata = s.Metadata[:before]
			s.Complete = false
			break
		}
		s.Files = append(s.Files, f.File)
		sum.Bytes += mountfs.TotalLength(f.Ranges)
		sum.Ranges += len(f.Blocks)
		if f.ByHand {
			sum.ByHand++
		}
	}
	s.Metadata = mountfs.MergeRanges(s.Metadata)
	sum.Files, sum.Complete = len(s.Files), s.Complete
	sum.Ranges += len(s.Metadata)
	return e.finish(s)
}
