package ec2test

import "time"

// Limits of a hook. (PutLifecycleHook, API reference)
const (
	leastHeartbeat = 30
	mostHeartbeat  = 7200
	dueHeartbeat   = 3600 * time.Second
	mostWait       = 48 * time.Hour
	mostHeartbeats = 100
	onLaunch       = "autoscaling:EC2_INSTANCE_LAUNCHING"
)

// hook reads a hook's parameters below a prefix.
func (c *call) hook(prefix string) (string, Hook) {
	name, transition, seconds := c.required(prefix+"LifecycleHookName"), c.text(prefix+"LifecycleTransition"), c.number(prefix+"HeartbeatTimeout")
	h := Hook{Timeout: dueHeartbeat, Default: c.text(prefix + "DefaultResult")}
	setDefault(&h.Default, givesUp)
	if h.Default != givesUp && h.Default != goesOn {
		c.fail(invalid("Invalid DefaultResult: %s", h.Default))
	}
	if transition != "" && transition != onLaunch {
		c.fail(invalid("Lifecycle transition %s is not known here: %s", transition, onLaunch))
	}
	if c.has(prefix + "HeartbeatTimeout") {
		h.Timeout = time.Duration(seconds) * time.Second
		if seconds < leastHeartbeat || seconds > mostHeartbeat {
			c.fail(invalid("Valid values for Heartbeat timeout are between %d and %d seconds", leastHeartbeat, mostHeartbeat))
		}
	}
	return name, h
}

func (s *Server) putHook(c *call) (any, error) {
	group := c.required("AutoScalingGroupName")
	name, h := c.hook("")
	transition := c.text("LifecycleTransition")
	return struct{}{}, s.change(c, group, func(_ *World, g *Group) error {
		if _, known := g.Hooks[name]; !known && transition == "" {
			return invalid("Lifecycle transition is required for a new lifecycle hook")
		}
		g.Hooks[name] = h
		return nil
	})
}

func (s *Server) deleteHook(c *call) (any, error) {
	group, name := c.required("AutoScalingGroupName"), c.required("LifecycleHookName")
	return struct{}{}, s.change(c, group, func(_ *World, g *Group) error {
		if _, known := g.Hooks[name]; !known {
			return invalid("No Lifecycle Hook found with name %s in group %s", name, group)
		}
		delete(g.Hooks, name)
		for _, m := range g.Members { // members that wait in it continue
			if wait, waits := m.Waits[name]; waits {
				wait.Result = goesOn
				m.Waits[name] = wait
			}
		}
		return nil
	})
}

// action finds the lifecycle action in progress that a call names.
func (c *call) action(g *Group, hook, instanceID string) (*Member, error) {
	other, has := c.hit.find(Lifecycle)
	for _, m := range g.Members {
		wait, waits := m.Waits[hook]
		if m.InstanceID == instanceID && m.State == waiting && waits && wait.Result == "" && c.now.Before(wait.Times) && (!has || other.State == waiting) {
			return m, nil
		}
	}
	return nil, invalid("No active Lifecycle Action found with instance ID %s", instanceID)
}

func (s *Server) completeAction(c *call) (any, error) {
	group, hook, id := c.required("AutoScalingGroupName"), c.required("LifecycleHookName"), c.required("InstanceId")
	result := c.required("LifecycleActionResult")
	if result != goesOn && result != givesUp {
		c.fail(invalid("Invalid lifecycle action result: %s", result))
	}
	return struct{}{}, s.change(c, group, func(_ *World, g *Group) error {
		m, err := c.action(g, hook, id)
		if err != nil {
			return err
		}
		wait := m.Waits[hook]
		wait.Result = result
		m.Waits[hook], m.Since = wait, c.now
		return nil
	})
}

func (s *Server) recordHeartbeat(c *call) (any, error) {
	group, hook, id := c.required("AutoScalingGroupName"), c.required("LifecycleHookName"), c.required("InstanceId")
	return struct{}{}, s.change(c, group, func(_ *World, g *Group) error {
		m, err := c.action(g, hook, id)
		if err != nil {
			return err
		}
		wait, timeout := m.Waits[hook], g.Hooks[hook].Timeout
		most := wait.Began.Add(min(mostWait, mostHeartbeats*timeout))
		wait.Times = c.now.Add(timeout)
		if wait.Times.After(most) {
			wait.Times = most
		}
		m.Waits[hook] = wait
		return nil
	})
}
