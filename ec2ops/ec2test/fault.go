package ec2test

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Effect is what a [Fault] does to a call.
type Effect string

// The effects, in the order in which they apply to one call.
const (
	Delay      Effect = "delay"       // the call takes longer
	DropBefore Effect = "drop-before" // the connection breaks before EC2 sees the call
	KillBefore Effect = "kill-before" // the client is killed before EC2 sees the call
	Fail       Effect = "error"       // the call is answered with an error and does nothing
	KillAfter  Effect = "kill-after"  // the client is killed when the call has taken effect
	DropAfter  Effect = "drop-after"  // the connection breaks when the call has taken effect
)

// Fault makes some calls go wrong.
type Fault struct {
	Effect Effect
	Action string        // "" is every action
	Nth    int           // of the calls with that action, counted from 1; 0 is every one
	Code   string        // for Fail: EC2's error code
	Delay  time.Duration // for Delay
}

// ParseFault reads EFFECT=CALL[:VALUE], where CALL is N (the Nth of all calls),
// ACTION (each of that action), ACTION#N (the Nth of that action) or * (all),
// and VALUE is the error code for error and the duration for delay:
//
//	kill-after=3
//	drop-after=CreateSnapshot#1
//	error=CreateVolume:InsufficientVolumeCapacity
//	delay=DescribeVolumes:2s
func ParseFault(spec string) (Fault, error) {
	effect, rest, has := strings.Cut(spec, "=")
	if !has {
		return Fault{}, fmt.Errorf("fault %q is not EFFECT=CALL[:VALUE]", spec)
	}
	call, value, hasValue := strings.Cut(rest, ":")
	f := Fault{Effect: Effect(effect)}
	if err := f.parseCall(call); err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", spec, err)
	}
	switch f.Effect {
	case Fail:
		if f.Code = value; value == "" {
			return Fault{}, fmt.Errorf("fault %q needs an error code, as in error=%s:RequestLimitExceeded", spec, call)
		}
	case Delay:
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return Fault{}, fmt.Errorf("fault %q needs a duration, as in delay=%s:2s", spec, call)
		}
		f.Delay = d
	case DropBefore, DropAfter, KillBefore, KillAfter:
		if hasValue {
			return Fault{}, fmt.Errorf("fault %q: %s takes no value", spec, effect)
		}
	default:
		return Fault{}, fmt.Errorf("fault %q: effect %q is none of delay, drop-before, kill-before, error, kill-after, drop-after", spec, effect)
	}
	return f, nil
}

func (f *Fault) parseCall(call string) error {
	action, nth, counted := strings.Cut(call, "#")
	if _, err := strconv.Atoi(call); err == nil {
		action, nth, counted = "*", call, true
	}
	if action == "" {
		return fmt.Errorf("call %q is not N, ACTION, ACTION#N or *", call)
	}
	if action != "*" {
		f.Action = action
	}
	if counted {
		n, err := strconv.Atoi(nth)
		if err != nil || n < 1 {
			return fmt.Errorf("call %q: calls are counted from 1", call)
		}
		f.Nth = n
	}
	return nil
}

// faults are the faults that hit one call.
type faults []Fault

func (fs faults) find(e Effect) (Fault, bool) {
	for _, f := range fs {
		if f.Effect == e {
			return f, true
		}
	}
	return Fault{}, false
}

// count notes that an action is called and returns the faults that hit it.
func (s *Server) count(action string) faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[""]++
	s.counts[action]++
	var hit faults
	for _, f := range s.opts.Faults {
		if (f.Action == "" || f.Action == action) && (f.Nth == 0 || f.Nth == s.counts[f.Action]) {
			hit = append(hit, f)
		}
	}
	return hit
}
