package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/hotset"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/mountfs"
)

// Warm reads the volumes of an instance's sources.
type Warm struct {
	Kernel Kernel
	Store  Store
	Events func(report.Event) // receives every event; never called concurrently
}

// Kernel is what a pass needs of the host.
type Kernel interface {
	Find(v mountfs.Volume) (mountfs.Device, error)
	Mounts() ([]mountfs.Mount, error)
	SpaceInUse(mountpoint string) (mountfs.Space, error)
	HotSet(mountpoint string, deviceSize int64) (hotset.Set, bool, error)
	OpenReader(d mountfs.Device) (Reader, error)
	RecordHotSet(ctx context.Context, mountpoint string) (hotset.Summary, error)
	OpenFiles(mountpoint string) (Files, error)
	// MemoryAvailable returns how many bytes programs can take without others being swapped out;
	// 0 if unknown.
	MemoryAvailable() int64
}

// Store keeps how far a volume has been read. [record.Dir] is the real one.
type Store interface {
	LoadRecord(source string) (record.Record, error)
	LoadWarming(source string) (record.Warming, error)
	SaveWarming(source string, w record.Warming) error
	ClaimWarming(source string) (release func() error, err error)
}

// Options say what is read, and how fast.
type Options struct {
	Mode    string // config.WarmHot: the hot set; config.WarmAll: also what else is in use
	RateMiB int64  // MiB a second at most; 0: no limit
	Again   bool   // also what was read before

	IfMounted bool // a source that is not mounted is no error
}

// Run reads the volume of every source that is mounted here. Reads that fail are counted and
// reported; they are no error. The error wraps [failure.ErrTemporary] if a source is not mounted,
// or its device does not respond.
func (w *Warm) Run(ctx context.Context, cfg config.Config, o Options) (report.Report, error) {
	return report.Each(cfg.Sources, w.Events, func(run *report.Run, src config.Source) error {
		at, err := w.find(src.Name)
		if o.IfMounted && errors.Is(err, errNotMounted) {
			run.Note(failure.Line(err))
			return nil
		}
		if err != nil {
			return err
		}
		run.Report.FromRecord(at.Record)
		run.Report.State = report.StateReady
		return w.Read(ctx, run, at, o)
	})
}

// Read is [Warm.Run] for one volume, as part of another command's run.
func (w *Warm) Read(ctx context.Context, run *report.Run, at Mounted, o Options) error {
	mode, why := decide(o.Mode, at.Record)
	if why != "" {
		run.Note(why)
	}
	if mode == config.WarmNone {
		return nil
	}
	release, err := w.Store.ClaimWarming(at.Record.Source)
	if errors.Is(err, mountfs.ErrBusy) {
		run.Note("another process reads " + at.Record.Volume + " already; snapsource status shows how far it is")
		return nil
	}
	if err != nil {
		return err
	}
	defer release() //nolint:errcheck // the kernel releases it with the process at the latest
	s := &warming{Warm: w, Mounted: at, run: run, options: o}
	if s.resume(mode); done(s.now, mode) {
		run.Note(at.Record.Volume + " was read before, until " + s.now.Ended.UTC().Format(time.RFC3339) + "; --again reads it once more")
		return nil
	}
	return s.read(ctx, mode)
}

// Wanted reports whether a source's volume is to be read in the background: nobody reads it, and not
// all of a mode was read before.
func Wanted(store Store, source, mode string) bool {
	r, err := store.LoadRecord(source)
	if err != nil || r.Ready.IsZero() {
		return false
	}
	less, _ := decide(mode, r)
	w, err := store.LoadWarming(source)
	return less != config.WarmNone && err == nil && (w.Volume != r.Volume || !done(w, less))
}

// decide returns what is to be read of a volume, and why it is less than what was asked for.
func decide(mode string, r record.Record) (less, why string) {
	switch {
	case mode == config.WarmNone:
		return config.WarmNone, ""
	case r.Snapshot == "":
		return config.WarmNone, r.Volume + " was created blank: none of its blocks has to be loaded"
	case r.Facts.FastRestored:
		return config.WarmNone, r.Volume + " was created by fast snapshot restore: its blocks are loaded"
	case r.Facts.InitializationRate > 0 && mode == config.WarmAll:
		return config.WarmHot, fmt.Sprintf("EC2 loads the blocks of %s at %d MiB/s, so only the hot set is read", r.Volume, r.Facts.InitializationRate)
	}
	return mode, ""
}

// warming is one run for one volume.
type warming struct {
	*Warm
	Mounted
	run     *report.Run
	options Options

	reader  Reader
	files   Files          // nil but while the hot set is read
	now     record.Warming // how far this run, and those that it continues, have read
	samples []sample
}

// read reads the hot set, and with config.WarmAll what else is in use.
func (s *warming) read(ctx context.Context, mode string) (err error) {
	if s.reader, err = s.Kernel.OpenReader(s.Device); err != nil {
		return failure.NotRoot(err)
	}
	defer s.reader.Close()
	defer func() { s.run.Report.Warm = report.WarmingOf(s.now, false) }()
	hot, err := s.readHot(ctx)
	if err == nil && mode == config.WarmAll {
		err = s.readUsed(ctx, hot)
	}
	if err != nil {
		s.now.Error = failure.Line(err)
	} else {
		s.compare()
		s.now.Ended = time.Now()
	}
	s.run.Report.Changed = true
	if saveErr := s.save(); saveErr != nil {
		err = failure.FollowedBy(err, saveErr)
	}
	return err
}

// memoryShare is the part of the available memory that the hot set may take in the page cache. It
// was in the page cache of the instance that recorded it; this one may be smaller.
const memoryShare = 2

// readHot reads the hot set, and returns what is thereby read of the device.
func (s *warming) readHot(ctx context.Context) (all []mountfs.Range, err error) {
	step := s.run.Begin(report.ReadHot)
	defer step.End(&err)
	var set hotset.Set
	found := false
	err = bounded(ctx, func() (err error) {
		set, found, err = s.Kernel.HotSet(s.Mountpoint, s.Device.Size)
		return err
	})
	if ctx.Err() != nil || errors.Is(err, errNoAnswer) {
		return nil, err
	}
	if err != nil {
		s.run.Note("the hot set can't be used: " + failure.Line(err))
	}
	if err != nil || !found {
		step.Detail = "no hot set is recorded"
		return nil, nil
	}
	// The metadata first: to open a file whose inode is not loaded takes several reads.
	list := slices.Concat(hotMetadata(set, s.Device.Size), hotFiles(set, s.Device.Size, s.Kernel.MemoryAvailable()/memoryShare))
	all = ranges(list)
	recorded := set.Recorded.UTC().Format(time.RFC3339Nano)
	if s.now.HotSet != recorded {
		s.now.HotSet, s.now.HotUnits, s.now.Hot = recorded, 0, record.Amount{}
	}
	earlier := s.now.Hot.Bytes
	s.now.Hot.Total = 0
	for _, u := range list {
		s.now.Hot.Total += u.bytes()
	}
	if s.files, err = s.Kernel.OpenFiles(s.Mountpoint); err != nil {
		return nil, failure.NotRoot(err)
	}
	defer s.files.Close()
	first := min(s.now.HotUnits, len(list))
	err = s.pass(ctx, step, sequence(list[first:]), &s.now.Hot, false, func(t tally) { s.now.HotUnits = first + t.units })
	step.Detail = describe(s.now.Hot, earlier, step.Took(), "of the hot set")
	return all, err
}

// readUsed reads what is in use of the file system and is not read yet: the metadata, then the
// data, then the log, which the kernel only writes.
func (s *warming) readUsed(ctx context.Context, hot []mountfs.Range) (err error) {
	step := s.run.Begin(report.ReadUsed)
	defer step.End(&err)
	var space mountfs.Space
	err = bounded(ctx, func() (err error) {
		space, err = s.Kernel.SpaceInUse(s.Mountpoint)
		return err
	})
	if err != nil {
		return failure.NotRoot(err)
	}
	parts := [][]mountfs.Range{space.Metadata, space.Data, space.Log}
	var left int64
	for i := range parts {
		parts[i] = mountfs.SubtractRanges(parts[i], hot)
		switch {
		case i < s.now.Part:
			parts[i] = nil
		case i == s.now.Part:
			parts[i] = mountfs.SubtractRanges(parts[i], []mountfs.Range{{Length: s.now.Upto}})
		}
		left += mountfs.TotalLength(parts[i])
	}
	earlier := s.now.Used.Bytes
	s.now.Used.Total = earlier + left
	for i := s.now.Part; i < len(parts) && err == nil; i++ {
		if i != s.now.Part {
			s.now.Part, s.now.Upto = i, 0
		}
		err = s.pass(ctx, step, inOrder(parts[i]), &s.now.Used, true, func(t tally) { s.now.Upto = max(s.now.Upto, t.end) })
	}
	step.Detail = describe(s.now.Used, earlier, step.Took(), "in use besides")
	return err
}

var errNoAnswer = failure.New(failure.ErrTemporary, fmt.Sprintf("the device has not responded for %s", stallTimeout))

// bounded calls a function that reads the file system, and returns without its result when ctx
// ends, or if the device does not respond. The call then ends with its read.
func bounded(ctx context.Context, call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	stall := time.NewTimer(stallTimeout)
	defer stall.Stop()
	select {
	case err := <-done:
		return err
	case <-stall.C:
		return errNoAnswer
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pass reads units, and keeps amount and the state up to date.
func (s *warming) pass(ctx context.Context, step *report.Running, next units, amount *record.Amount, background bool, at func(tally)) error {
	before, failed := amount.Bytes, s.now.Failed
	shown := newShown(step)
	p := &pass{
		reader: s.reader, files: s.files, size: s.Device.Size, pacer: newPacer(background, s.options.RateMiB<<20), idle: background,
		sample: s.note,
		done: func(t tally) {
			// Direct reads are aligned, so they are a little more than what is wanted.
			amount.Bytes, s.now.Failed, s.now.Rate = min(before+t.bytes, amount.Total), failed+t.failed, t.rate
			if t.err != nil {
				s.now.Error = failure.Line(t.err)
			}
			at(t)
			shown.update(*amount, t.rate)
			_ = s.save() // the next one, or the last, reports an error
		},
	}
	t, err := p.run(ctx, next)
	p.done(t)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", s.Device.Node, s.Record.Volume, err)
	}
	if n := t.failed; n > 0 {
		s.run.Note(fmt.Sprintf("%d reads of %s failed: %s", n, s.Device.Node, failure.Line(t.err)))
	}
	return nil
}

func (s *warming) save() error {
	s.now.Updated = time.Now()
	return s.Store.SaveWarming(s.Record.Source, s.now)
}
