package report

import (
	"slices"
	"sync"

	"snapsource/agent/config"
	"snapsource/agent/failure"
)

// Together is [Each] for all sources at the same time. The events of a source come in a block, in the
// order of the sources: those of the first that has not ended come at once, the others' follow. The
// block of a source that has failed does not wait.
func Together(sources []config.Source, events func(Event), do func(*Run, config.Source) error) (Report, error) {
	report := Report{Sources: make([]*Source, len(sources))}
	errs := make([]error, len(sources))
	b := &blocks{events: events, held: map[string][]Event{}, ended: map[string]bool{}}
	for _, src := range sources {
		b.open = append(b.open, src.Name)
	}
	var all sync.WaitGroup
	for n, src := range sources {
		all.Go(func() {
			report.Sources[n], errs[n] = runOne(src, b.event, do)
			b.end(src.Name, errs[n] != nil)
		})
	}
	all.Wait()
	var failed []error
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return report, failure.Several(failed...)
}

// blocks puts the events of concurrent runs into an order.
type blocks struct {
	events func(Event)

	mu    sync.Mutex         // held while events is called
	open  []string           // the sources whose blocks are not complete
	held  map[string][]Event // of all but the first of them
	ended map[string]bool    // sources whose runs have ended
}

func (b *blocks) event(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) > 0 && e.Source != b.open[0] && slices.Contains(b.open, e.Source) {
		b.held[e.Source] = append(b.held[e.Source], e)
		return
	}
	b.events(e)
}

// end passes on the block of a source whose run has failed, and those that are next in the order.
func (b *blocks) end(source string, failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended[source] = true
	if failed {
		b.release(source)
		b.open = slices.DeleteFunc(b.open, func(open string) bool { return open == source })
	}
	for len(b.open) > 0 {
		b.release(b.open[0])
		if !b.ended[b.open[0]] {
			return
		}
		b.open = b.open[1:]
	}
}

func (b *blocks) release(source string) {
	for _, e := range b.held[source] {
		b.events(e)
	}
	delete(b.held, source)
}
