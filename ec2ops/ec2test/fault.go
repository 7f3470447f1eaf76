package ec2test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Effect is what a [Fault] does to a call.
type Effect string

// The effects, in the order in which they apply to one call.
const (
	Refuse     Effect = "refuse"      // the connection is reset, and new ones are refused
	Delay      Effect = "delay"       // the call takes longer
	DropBefore Effect = "drop-before" // the connection is reset before EC2 sees the call
	KillBefore Effect = "kill-before" // the client is killed before EC2 sees the call
	Status     Effect = "status"      // the response is a bare HTTP status, the call has no effect
	Fail       Effect = "error"       // the response is an error, the call has no effect

	Stale      Effect = "stale"      // Describe does not find the new resource for a while
	Lag        Effect = "lag"        // Describe shows the previous state for a while
	Unattached Effect = "unattached" // volumes are shown as available, without their attachments
	Broken     Effect = "broken"     // the volume ends up in the state error
	Stuck      Effect = "stuck"      // attaching or detaching never ends
	Unplugged  Effect = "unplugged"  // EC2 says attached, but the device never appears
	TakenBack  Effect = "taken-back" // the volume vanishes after creating, as without a grant on its KMS key
	OldAnswer  Effect = "old-answer" // a client token of a deleted volume gets the first response again: creating
	Unlisted   Effect = "unlisted"   // Auto Scaling does not list the instance
	Lifecycle  Effect = "lifecycle"  // Auto Scaling reports another state of the instance

	KillAfter Effect = "kill-after" // the client is killed after the effect
	DropAfter Effect = "drop-after" // the connection is reset after the effect
	Hang      Effect = "hang"       // the call takes effect, but there is no response
	Cut       Effect = "cut"        // the connection is reset in the middle of the response
	Garble    Effect = "garble"     // the response's end is missing, although its length is right
	Empty     Effect = "empty"      // the response is 200 and empty
	Body      Effect = "body"       // the response is 200 and another text
	Huge      Effect = "huge"       // 8 MiB of blanks precede the response
)

// effects are all effects, by the kind of their value: none, a duration, or a text.
var effects = map[Effect]string{
	Refuse: "", DropBefore: "", KillBefore: "", Unattached: "", Broken: "", Stuck: "", Unplugged: "", KillAfter: "", DropAfter: "",
	TakenBack: "", OldAnswer: "", Unlisted: "", Lifecycle: "state",
	Hang: "", Cut: "", Garble: "", Empty: "", Huge: "",
	Delay: "duration", Stale: "duration", Lag: "duration", Fail: "error code", Status: "HTTP status", Body: "text",
}

// Requests to the metadata service are calls too, with names of their own. The count of all
// calls excludes them.
const (
	AnyMetadata      = "metadata"          // every request to it
	MetadataToken    = "metadata-token"    // PUT of a session token
	MetadataDocument = "metadata-document" // the identity document
	MetadataRole     = "metadata-role"     // the role's name, and its credentials
	MetadataTarget   = "metadata-target"   // the target lifecycle state
	MetadataMapping  = "metadata-mapping"  // the block device mapping, its list and its entries
)

// Fault makes some calls fail.
type Fault struct {
	Effect Effect
	Action string        // "" is every action of the API
	Nth    int           // the nth call of the action, from 1; 0 is every one
	For    time.Duration // duration from the first affected call; 0: no limit
	Code   string        // for Fail: EC2's error code
	Status int           // for Status: the HTTP status
	Delay  time.Duration // for Delay, Stale and Lag
	Body   string        // for Body
	State  string        // for Lifecycle
}

// ParseFault reads EFFECT=CALL[@FOR][:VALUE], where CALL is N (the Nth of all calls),
// ACTION (each of that action), ACTION#N (the Nth of that action) or * (all); with FOR,
// a duration, it is that call and all that follow for so long. VALUE is the error code
// for error, the status for status, the text for body, the state for lifecycle, and the
// duration for delay, stale and lag:
//
//	kill-after=3
//	drop-after=CreateSnapshot#1
//	error=CreateVolume@20s:RequestLimitExceeded
//	delay=DescribeVolumes:2s
//	status=metadata-token:403
func ParseFault(spec string) (Fault, error) {
	effect, rest, has := strings.Cut(spec, "=")
	if !has {
		return Fault{}, fmt.Errorf("fault %q is not EFFECT=CALL[@FOR][:VALUE]", spec)
	}
	call, value, hasValue := strings.Cut(rest, ":")
	f := Fault{Effect: Effect(effect)}
	takes, known := effects[f.Effect]
	if !known {
		var names []string
		for e := range effects {
			names = append(names, string(e))
		}
		slices.Sort(names)
		return Fault{}, fmt.Errorf("fault %q: effect %q is none of %s", spec, effect, strings.Join(names, ", "))
	}
	if err := f.parseCall(call); err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", spec, err)
	}
	if takes == "" && hasValue {
		return Fault{}, fmt.Errorf("fault %q: %s takes no value", spec, effect)
	}
	if takes != "" && !f.parseValue(value) {
		return Fault{}, fmt.Errorf("fault %q: the value of %s is %s: %s=%s:…", spec, effect, takes, effect, call)
	}
	return f, nil
}

// parseValue parses the value after the colon.
func (f *Fault) parseValue(value string) (good bool) {
	var err error
	switch f.Effect {
	case Fail:
		f.Code = value
	case Body:
		f.Body = value
	case Lifecycle:
		f.State = value
	case Status:
		f.Status, err = strconv.Atoi(value)
		return err == nil && http.StatusText(f.Status) != ""
	default:
		f.Delay, err = time.ParseDuration(value)
		return err == nil && f.Delay > 0
	}
	return value != ""
}

func (f *Fault) parseCall(call string) (err error) {
	call, during, limited := strings.Cut(call, "@")
	if limited {
		if f.For, err = time.ParseDuration(during); err != nil || f.For <= 0 {
			return fmt.Errorf("%q is not for how long: ACTION@20s", during)
		}
	}
	action, nth, counted := strings.Cut(call, "#")
	if _, err := strconv.Atoi(call); err == nil {
		action, nth, counted = "*", call, true
	}
	if action == "" {
		return fmt.Errorf("call %q is not N, ACTION, ACTION#N or *", call)
	}
	if counted && f.Effect == Refuse {
		return fmt.Errorf("call %q: refuse needs a duration: %s@20s", call, action)
	}
	if action != "*" {
		if err := checkCall(action); err != nil {
			return err
		}
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

// checkCall is [CheckAction] for what faults call actions.
func checkCall(name string) error {
	switch name {
	case AnyMetadata, MetadataToken, MetadataDocument, MetadataRole, MetadataTarget, MetadataMapping:
		return nil
	}
	return CheckAction(name)
}

// is says whether the fault applies to an action.
func (f *Fault) is(action string) bool {
	metadata := strings.HasPrefix(action, AnyMetadata)
	switch f.Action {
	case "":
		return !metadata
	case AnyMetadata:
		return metadata
	}
	return f.Action == action
}

// faults are the faults that apply to one call.
type faults []Fault

func (fs faults) find(e Effect) (Fault, bool) {
	for _, f := range fs {
		if f.Effect == e {
			return f, true
		}
	}
	return Fault{}, false
}

func (fs faults) has(e Effect) bool {
	_, has := fs.find(e)
	return has
}

// armed is a fault and the time of its first effect.
type armed struct {
	Fault
	began time.Time
}

// SetFaults replaces the faults and resets the counts of calls.
func (s *Server) SetFaults(fs ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = map[string]int{}
	s.faults = nil
	for _, f := range fs {
		s.faults = append(s.faults, &armed{Fault: f})
	}
}

// count counts a call and returns the faults that apply to it.
func (s *Server) count(action string, now time.Time) faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[action]++
	if strings.HasPrefix(action, AnyMetadata) {
		s.counts[AnyMetadata]++
	} else {
		s.counts[""]++
	}
	var hit faults
	for _, f := range s.faults {
		if f.is(action) && f.hits(s.counts[f.Action], now) {
			hit = append(hit, f.Fault)
		}
	}
	return hit
}

// hits says whether the fault applies to the nth call of its action.
func (f *armed) hits(nth int, now time.Time) bool {
	if f.began.IsZero() && nth < f.Nth {
		return false
	}
	if f.began.IsZero() {
		f.began = now
	}
	if f.For > 0 {
		return now.Before(f.began.Add(f.For))
	}
	return f.Nth == 0 || nth == f.Nth
}

// refuses says whether connections to the API, or to the metadata service, are refused now.
// A fault for all calls starts with the first connection.
func (s *Server) refuses(metadata bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Effect != Refuse || metadata != strings.HasPrefix(f.Action, AnyMetadata) {
			continue
		}
		if f.began.IsZero() && (f.Action == "" || f.Action == AnyMetadata) {
			f.began = now
		}
		if !f.began.IsZero() && (f.For == 0 || now.Before(f.began.Add(f.For))) {
			return true
		}
	}
	return false
}
