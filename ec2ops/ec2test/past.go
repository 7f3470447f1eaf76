package ec2test

import (
	"maps"
	"reflect"
	"time"
)

// Past is a previous state of a resource that the Describe actions still show: EC2 is
// eventually consistent about a resource's state too, not only about its existence. (EC2
// API developer guide, "Eventual consistency")
type Past struct {
	Until    time.Time
	Instance *Instance
	Volume   *Volume
	Snapshot *Snapshot
	Template *Template
}

// lag is how long the Describe actions show the state before a call.
func (s *Server) lag(c *call) time.Duration {
	f, _ := c.hit.find(Lag)
	return max(s.opts.Lag, f.Delay)
}

// lagging carries out a call and keeps showing the previous state for a while. A previous
// state that is already shown stays for its own time.
func (s *Server) lagging(c *call, lag time.Duration, handle func(*call) (any, error)) (any, error) {
	before, err := s.World(c.ctx)
	if err != nil {
		return nil, err
	}
	answer, err := handle(c)
	if err != nil {
		return nil, err
	}
	return answer, s.store.Update(c.ctx, func(w *World) error {
		past := map[string]*Past{}
		for id, i := range before.Instances {
			if !reflect.DeepEqual(i, w.Instances[id]) {
				past[id] = &Past{Instance: i}
			}
		}
		for id, v := range before.Volumes {
			if !reflect.DeepEqual(v, w.Volumes[id]) {
				past[id] = &Past{Volume: v}
			}
		}
		for id, snap := range before.Snapshots {
			if !reflect.DeepEqual(snap, w.Snapshots[id]) {
				past[id] = &Past{Snapshot: snap}
			}
		}
		for id, t := range before.Templates {
			if !reflect.DeepEqual(t, w.Templates[id]) {
				past[id] = &Past{Template: t}
			}
		}
		for id, p := range past {
			if known := w.Past[id]; known == nil || reached(known.Until, c.now) {
				p.Until = c.now.Add(lag)
				w.Past[id] = p
			}
		}
		return nil
	})
}

// shown returns the World that the Describe actions show.
func (w *World) shown(now time.Time) *World {
	if len(w.Past) == 0 {
		return w
	}
	s := *w
	s.Instances, s.Volumes, s.Snapshots = maps.Clone(w.Instances), maps.Clone(w.Volumes), maps.Clone(w.Snapshots)
	s.Templates = maps.Clone(w.Templates)
	for id, p := range w.Past {
		switch {
		case reached(p.Until, now):
		case p.Instance != nil:
			s.Instances[id] = p.Instance
		case p.Volume != nil:
			s.Volumes[id] = p.Volume
		case p.Snapshot != nil:
			s.Snapshots[id] = p.Snapshot
		case p.Template != nil:
			s.Templates[id] = p.Template
		}
	}
	return &s
}
