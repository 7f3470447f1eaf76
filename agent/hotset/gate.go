package hotset

import "sync"

// gate decides once whether the record is written: by who writes it, or by who gives up.
type gate struct {
	mu      sync.Mutex
	entered bool
	closed  bool
}

// enter reports whether the record may be written now.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered = !g.closed
	return g.entered
}

// close keeps the record from being written. false: it is being written.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return !g.entered
}
