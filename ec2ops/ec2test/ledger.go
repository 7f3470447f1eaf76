package ec2test

import (
	"strings"
	"time"
)

// Call is an entry of the ledger: a call that reached EC2, and its result.
type Call struct {
	Time     time.Time
	Caller   string // name of the instance that made the call, or "operator"
	Action   string
	Resource string            // id acted on or created, "" if there is none
	Result   string            // "ok" or EC2's error code
	Params   map[string]string // as sent, without Action and Version
}

// OK says whether the call succeeded.
func (c Call) OK() bool { return c.Result == ok }

// Mutating says whether the call can change anything: all actions except Describe and Get
// can.
func (c Call) Mutating() bool {
	return !strings.HasPrefix(c.Action, "Describe") && !strings.HasPrefix(c.Action, "Get")
}

const ok = "ok"
