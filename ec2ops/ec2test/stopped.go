package ec2test

import "time"

type stateChanges struct {
	Instances set[stateChange] `xml:"instancesSet"`
}

// stopInstances stops instances; their attachments stay.
func (s *Server) stopInstances(c *call) (any, error) {
	return s.changeState(c, "stopped", func(i *Instance) { i.Stopped = c.now })
}

// startInstances starts stopped instances.
func (s *Server) startInstances(c *call) (any, error) {
	return s.changeState(c, "pending", func(i *Instance) {
		if !i.Stopped.IsZero() {
			i.Stopped, i.Running = time.Time{}, c.now.Add(s.chance.launch())
		}
	})
}

func (s *Server) changeState(c *call, to string, change func(*Instance)) (any, error) {
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
			change(i)
			answer.Instances.Items = append(answer.Instances.Items, stateChange{InstanceID: i.ID, Previous: stateOf(before), Current: stateOf(i.State(c.now))})
		}
		return nil
	})
	return answer, err
}
