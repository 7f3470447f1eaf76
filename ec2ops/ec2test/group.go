package ec2test

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Group is an Auto Scaling group.
type Group struct {
	Name             string
	Min, Max         int64
	Desired          int64
	Zones            []string
	Subnets          string // VPCZoneIdentifier, as given
	Template         string // the launch template's name or id, or the launch configuration's name, as given
	TemplateVersion  string `json:",omitempty"` // a number, $Latest or $Default; "" for a launch configuration
	TemplateID       string `json:",omitempty"` // of a template that exists in EC2
	Mixed            bool   `json:",omitempty"` // the template is that of a mixed instances policy
	Created, Deleted time.Time
	Tags             map[string]GroupTag `json:",omitempty"`
	Hooks            map[string]Hook
	Pool             *WarmPool
	Members          []*Member
	Launches         int       // instances launched so far, for their names
	Retry            time.Time // no launch before that: the last one failed
	Activities       []Activity
}

// Hook is a lifecycle hook for launches.
type Hook struct {
	Timeout time.Duration
	Default string // CONTINUE or ABANDON
}

// WarmPool is a group's pool of initialized instances.
type WarmPool struct {
	State   string // of its instances: Stopped or Running
	Least   int64
	Reaches int64 // group and pool together; negative: the group's Max
}

// Member is an instance in a group. Its State is Auto Scaling's without the prefix Warmed:,
// which Warm stands for.
type Member struct {
	InstanceID, Name string
	State            string
	Warm             bool
	Since            time.Time       // of the state
	Until            time.Time       // the end of Pending:Proceed
	Waits            map[string]Wait // by hook, of a Pending:Wait
	TemplateID       string          `json:",omitempty"` // launched from it
	TemplateVersion  int64           `json:",omitempty"`
}

// Wait is a lifecycle action in progress.
type Wait struct {
	Began, Times time.Time // the start, and the timeout
	Result       string    // "" while it is in progress
}

// Activity is the reason of a launch or termination.
type Activity struct {
	ID, Description, Cause, Status, Message string
	Began, Ended                            time.Time
}

// Lifecycle states, and the states of instances in a pool.
const (
	pending     = "Pending"
	waiting     = "Pending:Wait"
	proceeding  = "Pending:Proceed"
	inService   = "InService"
	terminating = "Terminating"
	poolStopped = "Stopped"
	poolRunning = "Running"
	goesOn      = "CONTINUE"
	givesUp     = "ABANDON"
)

// Lifecycle returns the state in Auto Scaling's notation.
func (m *Member) Lifecycle() string {
	if m.Warm {
		return "Warmed:" + m.State
	}
	return m.State
}

// leaving says whether the member is being terminated.
func (m *Member) leaving() bool { return m.State == terminating }

func (g *Group) clone() *Group {
	c := *g
	c.Tags, c.Hooks, c.Activities = maps.Clone(g.Tags), maps.Clone(g.Hooks), slices.Clone(g.Activities)
	if g.Pool != nil {
		pool := *g.Pool
		c.Pool = &pool
	}
	c.Members = nil
	for _, m := range g.Members {
		copied := *m
		copied.Waits = maps.Clone(m.Waits)
		c.Members = append(c.Members, &copied)
	}
	return &c
}

// member returns an instance's group and member.
func (w *World) member(instanceID string) (*Group, *Member) {
	for _, g := range w.Groups {
		for _, m := range g.Members {
			if m.InstanceID == instanceID {
				return g, m
			}
		}
	}
	return nil, nil
}

// target returns the metadata service's target-lifecycle-state; "" outside a group.
func (w *World) target(instanceID string) string {
	switch g, m := w.member(instanceID); {
	case m == nil:
		return ""
	case m.leaving():
		return "Terminated"
	case m.Warm && g.Pool != nil:
		return "Warmed:" + g.Pool.State
	}
	return inService
}

// settling computes a group's present state from the time that has passed.
type settling struct {
	s       *Server
	w       *World
	now     time.Time
	changed bool
	deleted []string // volumes
	supply  *supply
}

// group computes the present state of one group.
func (x *settling) group(g *Group) {
	for again := true; again; {
		before := x.changed
		x.changed = false
		for _, m := range slices.Clone(g.Members) {
			x.member(g, m)
		}
		x.scale(g)
		again = x.changed
		x.changed = x.changed || before
	}
	if !g.Deleted.IsZero() && len(g.Members) == 0 {
		delete(x.w.Groups, g.Name)
		x.changed = true
	}
}

// enter puts a member into a state.
func (x *settling) enter(m *Member, state string, at time.Time) {
	m.State, m.Since, x.changed = state, at, true
}

// member makes a member's next transition, if it is due.
func (x *settling) member(g *Group, m *Member) {
	i := x.w.Instances[m.InstanceID]
	if !i.Terminated.IsZero() {
		if !m.leaving() {
			x.enter(m, terminating, i.Terminated)
			x.tell(g, m, "Terminating EC2 instance: "+m.InstanceID, "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.", i.Terminated, "")
		}
		if reached(i.ShutDown, x.now) {
			g.Members = slices.DeleteFunc(g.Members, func(other *Member) bool { return other == m })
			x.changed = true
		}
		return
	}
	switch m.State {
	case pending:
		if at := latest(i.Running, m.Since); !x.now.Before(at) {
			x.await(g, m, at)
		}
	case waiting:
		x.wait(g, m)
	case proceeding:
		if !x.now.Before(m.Until) {
			x.arrive(g, m, i)
		}
	}
}

// await starts the lifecycle actions of a running member.
func (x *settling) await(g *Group, m *Member, at time.Time) {
	m.Waits = map[string]Wait{}
	for name, h := range g.Hooks {
		m.Waits[name] = Wait{Began: at, Times: at.Add(h.Timeout)}
	}
	x.enter(m, waiting, at)
	if len(m.Waits) == 0 {
		x.proceed(m, at)
	}
}

func (x *settling) proceed(m *Member, at time.Time) {
	m.Waits, m.Until = nil, at.Add(x.s.random.launch())
	x.enter(m, proceeding, at)
}

// wait ends timed-out lifecycle actions, and with the last one the member's wait.
func (x *settling) wait(g *Group, m *Member) {
	at, under := m.Since, false
	for name, wait := range m.Waits {
		if wait.Result == "" && reached(wait.Times, x.now) {
			wait.Result = g.Hooks[name].Default
			m.Waits[name], x.changed = wait, true
			at = latest(at, wait.Times)
		}
		if wait.Result == givesUp {
			x.terminate(g, m, "an instance was taken out of service because its lifecycle action "+name+" was abandoned or timed out.", givesUp)
			return
		}
		under = under || wait.Result == ""
	}
	if !under {
		x.proceed(m, at)
	}
}

// arrive puts a member into service or into the pool.
func (x *settling) arrive(g *Group, m *Member, i *Instance) {
	if !m.Warm || g.Pool == nil {
		m.Warm = false
		x.enter(m, inService, m.Until)
		return
	}
	if g.Pool.State == poolStopped {
		i.Stopped = m.Until
	}
	x.enter(m, g.Pool.State, m.Until)
}

// terminate terminates a member's instance.
func (x *settling) terminate(g *Group, m *Member, cause, result string) {
	x.deleted = append(x.deleted, x.s.terminate(x.w, x.w.Instances[m.InstanceID], x.now)...)
	x.enter(m, terminating, x.now)
	x.tell(g, m, "Terminating EC2 instance: "+m.InstanceID, cause, x.now, result)
}

// scale launches and terminates up to the desired sizes.
func (x *settling) scale(g *Group) {
	desired := g.Desired
	if !g.Deleted.IsZero() {
		desired = 0
	}
	var serving, warm []*Member
	for _, m := range g.Members {
		switch {
		case m.leaving():
		case m.Warm:
			warm = append(warm, m)
		default:
			serving = append(serving, m)
		}
	}
	for n := int64(len(serving)); n < desired; n++ {
		ready := slices.IndexFunc(warm, func(m *Member) bool { return m.State == poolStopped || m.State == poolRunning })
		if ready < 0 {
			x.launch(g, false)
			continue
		}
		m := warm[ready]
		warm = slices.Delete(warm, ready, ready+1)
		m.Warm = false
		if i := x.w.Instances[m.InstanceID]; !i.Stopped.IsZero() {
			i.start(x.w, x.now, x.now.Add(x.s.random.launch()))
		}
		x.enter(m, pending, x.now)
		x.tell(g, m, "Launching a new EC2 instance from warm pool: "+m.InstanceID, "an instance was started in response to a difference between desired and actual capacity.", x.now, "")
	}
	for n := int64(len(serving)); n > desired; n-- {
		x.terminate(g, serving[int64(len(serving))-n], "an instance was taken out of service in response to a difference between desired and actual capacity.", "")
	}
	wanted := g.Pool.wants(g)
	for n := int64(len(warm)); n < wanted; n++ {
		x.launch(g, true)
	}
	for n := int64(len(warm)); n > wanted; n-- {
		x.terminate(g, warm[int64(len(warm))-n], "an instance was taken out of the warm pool.", "")
	}
}

// wants returns the desired size of the pool. (PutWarmPool, API reference)
func (p *WarmPool) wants(g *Group) int64 {
	if p == nil || !g.Deleted.IsZero() {
		return 0
	}
	reaches := p.Reaches
	if reaches < 0 {
		reaches = g.Max
	}
	return max(p.Least, reaches-g.Desired, 0)
}

// tell records an activity.
func (x *settling) tell(g *Group, m *Member, description, cause string, at time.Time, result string) {
	a := Activity{ID: x.s.requestID(), Description: description, Began: at, Ended: at, Status: "Successful",
		Cause: "At " + at.UTC().Format(time.RFC3339) + " " + cause}
	if result == givesUp {
		for n, earlier := range g.Activities { // the launch has failed
			if strings.HasPrefix(earlier.Description, "Launching") && strings.HasSuffix(earlier.Description, m.InstanceID) {
				g.Activities[n].Status, g.Activities[n].Message = "Cancelled", "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token was abandoned: Heartbeat Timeout or ABANDON"
			}
		}
	}
	g.Activities = append(g.Activities, a)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
