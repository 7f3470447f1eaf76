//go:build linux

package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// fetcher fetches the blocks of a volume from its snapshot: each at most once, and a limited
// number of them at the same time. It moves no data, as they are in the volume's image.
type fetcher struct {
	ctx     context.Context
	profile lazyProfile
	seed    uint64
	hurry   <-chan struct{} // closed: fetches take no time any more
	blocks  *blockMap
	counts  *lazyCounts
	slots   chan struct{} // of a fetch in progress; those who wait for one are served in their order

	mu       sync.Mutex
	inFlight map[int64]*fetch // by block, waiting for a slot included
	running  sync.WaitGroup
}

// fetch is the fetch of one block.
type fetch struct {
	done chan struct{}
	err  error // once it is done
}

func newFetcher(ctx context.Context, p lazyProfile, seed uint64, hurry <-chan struct{}, blocks *blockMap, counts *lazyCounts) *fetcher {
	return &fetcher{
		ctx: ctx, profile: p, seed: seed, hurry: hurry, blocks: blocks, counts: counts,
		slots: make(chan struct{}, p.fetches), inFlight: map[int64]*fetch{},
	}
}

// await waits until the given blocks are warm.
func (f *fetcher) await(blocks []int64, who reader) error {
	if !f.profile.cold {
		return nil
	}
	var waits []*fetch
	joined := false
	f.mu.Lock()
	for _, b := range blocks {
		if !f.blocks.cold(b) {
			continue
		}
		running := f.inFlight[b]
		if running == nil {
			running = f.start(b, who)
		} else {
			joined = true
		}
		waits = append(waits, running)
	}
	f.mu.Unlock()
	if joined {
		f.counts.waited()
	}
	var errs []error
	for _, w := range waits {
		<-w.done
		errs = append(errs, w.err)
	}
	return errors.Join(errs...)
}

// start starts the fetch of a block. The caller holds the lock.
func (f *fetcher) start(block int64, who reader) *fetch {
	running := &fetch{done: make(chan struct{})}
	f.inFlight[block] = running
	f.running.Go(func() { // ends with the fetch, or with ctx
		select {
		case f.slots <- struct{}{}:
			f.transfer(block, who, running)
		case <-f.ctx.Done():
			f.end(block, running, f.ctx.Err())
		}
	})
	return running
}

// transfer fetches a block; it has a slot.
func (f *fetcher) transfer(block int64, who reader, running *fetch) {
	f.counts.fetching(1)
	err := pass(f.ctx, f.hurry, f.profile.delay(f.seed, block))
	f.counts.fetching(-1)
	if err == nil {
		f.counts.fetched(who, f.blocks.arrive(block))
	}
	<-f.slots
	f.end(block, running, err)
	if err == nil && who != readerPrefetch {
		f.ahead(block)
	}
}

func (f *fetcher) end(block int64, running *fetch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.inFlight, block)
	running.err = err
	close(running.done)
}

// ahead fetches the blocks after one, as far as there are slots that no request waits for.
func (f *fetcher) ahead(block int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for b := block + 1; b <= block+int64(f.profile.prefetch); b++ {
		if f.inFlight[b] != nil || !f.blocks.cold(b) {
			continue
		}
		select {
		case f.slots <- struct{}{}:
		default:
			return
		}
		running := &fetch{done: make(chan struct{})}
		f.inFlight[b] = running
		f.running.Go(func() { f.transfer(b, readerPrefetch, running) }) // ends with the fetch, or with ctx
	}
}

// loadTick is how often a volume's background initialization makes progress.
const loadTick = 20 * time.Millisecond

// load makes blocks warm in the background, in their order and at a rate in MiB/s since a
// volume's creation: a volume with VolumeInitializationRate is loaded whether or not it is
// attached. It ends when all are, or with ctx.
func (f *fetcher) load(created time.Time, rate int64) {
	each := time.Duration(float64(lazyBlock) / float64(rate*mib) * float64(time.Second))
	due := created
	for b := f.blocks.next(0); b >= 0; b = f.blocks.next(b + 1) {
		due = due.Add(each)
		if wait := time.Until(due); wait > 0 && pass(f.ctx, nil, max(wait, loadTick)) != nil || f.ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		if f.inFlight[b] == nil && f.blocks.cold(b) {
			f.counts.fetched(readerBackground, f.blocks.arrive(b))
		}
		f.mu.Unlock()
	}
}

// wait waits for the end of all fetches, after ctx has ended.
func (f *fetcher) wait() { f.running.Wait() }
