package ec2test

import (
	"context"
	"time"
)

type stateChanges struct {
	Instances set[stateChange] `xml:"instancesSet"`
}

// Stop stops an instance outside the API. A second call does nothing.
func (s *Server) Stop(ctx context.Context, instanceID string) error {
	return s.changeInstance(ctx, instanceID, func(_ *World, i *Instance, now time.Time) {
		if i.Stopped.IsZero() {
			i.Stopped = now
		}
	})
}

// Start starts a stopped instance outside the API; for any other it does nothing.
func (s *Server) Start(ctx context.Context, instanceID string) error {
	return s.changeInstance(ctx, instanceID, func(w *World, i *Instance, now time.Time) {
		if !i.Stopped.IsZero() {
			i.start(w, now, now.Add(s.random.launch()))
		}
	})
}

func (s *Server) changeInstance(ctx context.Context, id string, change func(*World, *Instance, time.Time)) error {
	now := time.Now()
	return s.store.Update(ctx, func(w *World) error {
		i, err := findInstance(w, id, now)
		if err == nil {
			change(w, i, now)
		}
		return err
	})
}

// stopInstances stops instances; their attachments stay.
func (s *Server) stopInstances(c *call) (any, error) {
	return s.changeState(c, "stopped", func(_ *World, i *Instance) {
		if i.Stopped.IsZero() {
			i.Stopped = c.now
		}
	})
}

// startInstances starts stopped instances.
func (s *Server) startInstances(c *call) (any, error) {
	return s.changeState(c, "pending", func(w *World, i *Instance) {
		if !i.Stopped.IsZero() {
			i.start(w, c.now, c.now.Add(s.random.launch()))
		}
	})
}

func (s *Server) changeState(c *call, to string, change func(*World, *Instance)) (any, error) {
	ids := c.list("InstanceId")
	if len(ids) == 0 {
		c.fail(missing("InstanceId"))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	var answer stateChanges
	err := s.store.Update(c.ctx, func(w *World) error {
		var found []*Instance
		for _, id := range ids {
			i, err := findInstance(w, id, c.now)
			if err != nil {
				return err
			}
			if state := i.State(c.now); state == "terminated" || state == "shutting-down" {
				return fail("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", id, to)
			}
			found = append(found, i)
		}
		for _, i := range found {
			before := i.State(c.now)
			change(w, i)
			answer.Instances.Items = append(answer.Instances.Items, stateChange{InstanceID: i.ID, Previous: stateOf(before), Current: stateOf(i.State(c.now))})
		}
		return nil
	})
	return answer, err
}

// start starts a stopped instance. It sets a new launch time, which is pendingTime in the
// identity document. (EC2 user guide, "Stop and start your instance"; reported by
// mlevit/aws-auto-cleanup#129)
func (i *Instance) start(w *World, now, running time.Time) {
	i.Stopped, i.Launched, i.Running = time.Time{}, now, running
	i.Mapped = mapped(attachedTo(w, i.ID, now))
}
