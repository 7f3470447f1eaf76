package ec2test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Place is a region of an account.
type Place struct{ Account, Region string }

// MarshalText returns "ACCOUNT/REGION".
func (p Place) MarshalText() ([]byte, error) { return []byte(p.Account + "/" + p.Region), nil }

// UnmarshalText is the reverse of MarshalText.
func (p *Place) UnmarshalText(text []byte) error {
	p.Account, p.Region, _ = strings.Cut(string(text), "/")
	return nil
}

// places are the Servers of one state.
type places struct {
	home    Place
	store   Store    // that of home
	regions []string // besides home's

	mu       sync.Mutex
	servers  map[Place]*Server
	policies map[string]policies // by account
}

// At returns the Server for another account or region, with the same state; nil for a region that the
// options do not list. The faults of a call are those of the Server whose endpoint it uses.
func (s *Server) At(p Place) *Server {
	if p.Region != s.places.home.Region && !slices.Contains(s.places.regions, p.Region) {
		return nil
	}
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	if known := s.places.servers[p]; known != nil {
		return known
	}
	opts := s.opts
	opts.Account, opts.Region, opts.Zone = p.Account, p.Region, p.Region+"c"
	if p.Region == s.opts.Region {
		opts.Zone = s.opts.Zone
	}
	other := &Server{
		opts: opts, store: &part{s.places, p}, random: s.random, places: s.places,
		tokens: map[string]imdsToken{}, buckets: map[string]*bucket{},
	}
	other.SetFaults(opts.Faults...)
	s.places.servers[p] = other
	return other
}

// Store returns the Store of the server's account and region.
func (s *Server) Store() Store { return s.store }

// Where returns the Server whose account and region has a live instance of a name; nil if none has.
func (s *Server) Where(ctx context.Context, name string) (*Server, error) {
	var found *Place
	if err := s.places.store.View(ctx, func(w *World) error {
		now := time.Now()
		if w.Live(name, now) != nil {
			found = &s.places.home
		}
		for place, other := range w.Elsewhere {
			if other.Live(name, now) != nil {
				found = &place
			}
		}
		return nil
	}); err != nil || found == nil {
		return nil, err
	}
	return s.At(*found), nil
}

// Parts returns the state of each account and region.
func (w *World) Parts() []*World {
	parts := []*World{w}
	for _, other := range w.Elsewhere {
		parts = append(parts, other)
	}
	return parts
}

// Place returns the account and region of the Server.
func (s *Server) Place() Place { return Place{s.opts.Account, s.opts.Region} }

// part is the Store of one place, in that of all.
type part struct {
	all   *places
	place Place
}

// View implements [Store].
func (p *part) View(ctx context.Context, see func(*World) error) error {
	return p.all.store.View(ctx, func(w *World) error { return see(p.of(w)) })
}

// Update implements [Store].
func (p *part) Update(ctx context.Context, change func(*World) error) error {
	return p.all.store.Update(ctx, func(w *World) error { return change(p.of(w)) })
}

// Record implements [Store].
func (p *part) Record(ctx context.Context, c Call) error { return p.all.store.Record(ctx, c) }

// Calls implements [Store].
func (p *part) Calls(ctx context.Context) ([]Call, error) { return p.all.store.Calls(ctx) }

// of returns the place's part of the World.
func (p *part) of(w *World) *World {
	mine := w
	if p.place != p.all.home {
		if mine = w.Elsewhere[p.place]; mine == nil {
			mine = newWorld()
			w.Elsewhere[p.place] = mine
		}
	}
	mine.others = nil
	if p.place != p.all.home && p.place.Region == p.all.home.Region {
		mine.others = append(mine.others, w)
	}
	for place, other := range w.Elsewhere {
		if place != p.place && place.Region == p.place.Region {
			mine.others = append(mine.others, other)
		}
	}
	return mine
}
