package report

import (
	"sync"

	"snapsource/agent/config"
	"snapsource/agent/failure"
)

// Together is [Each] for all sources at the same time. The events of a source come in a block: those
// of the first source that has not ended come at once, the others' when that has ended, or when they
// have ended themselves.
func Together(sources []config.Source, events func(Event), do func(*Run, config.Source) error) (Report, error) {
	report := Report{Sources: make([]*Source, len(sources))}
	errs := make([]error, len(sources))
	b := &blocks{events: events, held: map[string][]Event{}}
	for _, src := range sources {
		b.open = append(b.open, src.Name)
	}
	var all sync.WaitGroup
	for n, src := range sources {
		all.Go(func() {
			report.Sources[n], errs[n] = runOne(src, b.event, do)
			b.end(src.Name)
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

	mu   sync.Mutex         // held while events is called
	open []string           // the sources whose runs have not ended
	held map[string][]Event // of all but the first of them
}

func (b *blocks) event(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) > 0 && e.Source != b.open[0] && e.Source != "" {
		b.held[e.Source] = append(b.held[e.Source], e)
		return
	}
	b.events(e)
}

// end passes on what is held of a source whose run has ended, and of the one that is the first now.
func (b *blocks) end(source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, open := range b.open {
		if open == source {
			b.open = append(b.open[:n], b.open[n+1:]...)
			break
		}
	}
	b.release(source)
	if len(b.open) > 0 {
		b.release(b.open[0])
	}
}

func (b *blocks) release(source string) {
	for _, e := range b.held[source] {
		b.events(e)
	}
	delete(b.held, source)
}
