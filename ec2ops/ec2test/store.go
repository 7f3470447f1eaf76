package ec2test

import (
	"context"
	"slices"
	"sync"
)

// Store keeps a [World] and the ledger of calls.
//
// The functions passed to View and Update must not keep the World, must not call the Store,
// and must return their errors before they change anything.
type Store interface {
	// View calls a function with the present World.
	View(ctx context.Context, see func(*World) error) error
	// Update lets one caller at a time change the World, and saves it if change returns
	// nil.
	Update(ctx context.Context, change func(*World) error) error
	// Record appends to the ledger.
	Record(ctx context.Context, c Call) error
	// Calls returns the ledger, oldest first.
	Calls(ctx context.Context) ([]Call, error)
}

// NewMemory returns a Store in memory.
func NewMemory() Store {
	return &memory{world: newWorld()}
}

type memory struct {
	mu    sync.Mutex
	world *World
	calls []Call
}

func (m *memory) View(_ context.Context, see func(*World) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return see(m.world)
}

func (m *memory) Update(_ context.Context, change func(*World) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return change(m.world)
}

func (m *memory) Record(_ context.Context, c Call) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c)
	return nil
}

func (m *memory) Calls(context.Context) ([]Call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls), nil
}
