package agent

import (
	"context"
	"sync"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/launchhook"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// shared is what the launches of one run share: each source's is a goroutine of its own.
type shared struct {
	sources  []config.Source
	hook     *launchhook.Hook
	counts   admission.Counts
	identity once[ec2ops.Identity]
	asked    once[asked]

	calls background // for all launches

	// announcing is held while the instance's roles are put on or removed. rolesOn says that they are
	// on, put by this run.
	announcing sync.Mutex
	rolesOn    bool
	// finishing is held while a launch completes the hook and saves its record, so that the last one
	// finds the records of the others.
	finishing sync.Mutex

	mu      sync.Mutex      // guards what follows
	mounted map[string]bool // by source, once it is mounted or its launch has ended
	waiting int             // launches that have yet to get there
	all     chan struct{}   // closed when waiting is 0
}

func newShared(cloud Cloud, cfg config.Config) *shared {
	return &shared{
		sources: cfg.Sources, hook: launchhook.New(cloud.Group, cfg.LifecycleHook),
		mounted: map[string]bool{}, waiting: len(cfg.Sources), all: make(chan struct{}),
	}
}

// names returns the names of the run's sources.
func (s *shared) names() (names []string) {
	for _, src := range s.sources {
		names = append(names, src.Name)
	}
	return names
}

// setMounted notes whether a source is mounted, or that its launch has ended without.
func (s *shared) setMounted(source string, mounted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.mounted[source]; !known {
		if s.waiting--; s.waiting == 0 {
			close(s.all)
		}
	}
	s.mounted[source] = mounted
}

func (s *shared) isMounted(source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mounted[source]
}

// othersTimeout is how long a launch that has mounted its source waits for the others before it goes
// on: they take the same time, unless one fails or EC2 throttles it.
const othersTimeout = 30 * time.Second

// waitForOthers waits until all sources of the run are mounted, or their launches have ended. Only then
// can the roles be put on, and the check for newer releases has to follow that.
func (s *shared) waitForOthers(ctx context.Context, step *report.Running) {
	limit := time.NewTimer(othersTimeout)
	defer limit.Stop()
	select {
	case <-s.all:
		return
	default:
		step.Waiting("the other sources")
	}
	select {
	case <-s.all:
	case <-limit.C:
	case <-ctx.Done():
	}
}

// once is a value that the first caller determines. Concurrent callers wait for it.
type once[T any] struct {
	sync.Once
	value T
	err   error
}

func (o *once[T]) get(determine func() (T, error)) (T, error) {
	o.Do(func() { o.value, o.err = determine() })
	return o.value, o.err
}
