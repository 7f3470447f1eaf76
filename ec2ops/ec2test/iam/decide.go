package iam

import "strings"

// Request is one authorization: an action on one resource. A call that concerns several resources
// needs one for each. (IAM user guide, "Policy evaluation logic")
type Request struct {
	Action   string  // "ec2:AttachVolume"
	Resource string  // its ARN; "*" for an action without resource types
	Context  Context // condition keys and their values
}

// Context has the values of condition keys. The names of keys are not case-sensitive. (IAM user guide,
// "IAM JSON policy elements: Condition")
type Context map[string][]string

// Set sets a key's values.
func (c Context) Set(key string, values ...string) { c[strings.ToLower(key)] = values }

// Get returns a key's values; nil if the request lacks the key.
func (c Context) Get(key string) []string { return c[strings.ToLower(key)] }

// Decision is the result of [Policy.Decide].
type Decision struct {
	Allowed  bool
	Explicit bool // a Deny statement applies
}

// Decide evaluates a request: a Deny that applies decides, else an Allow that applies, else it is
// denied. (IAM user guide, "Policy evaluation logic")
func (p Policy) Decide(r Request) Decision {
	var d Decision
	for _, s := range p.Statement {
		switch {
		case !s.applies(r):
		case s.Effect == Deny:
			return Decision{Explicit: true}
		default:
			d.Allowed = true
		}
	}
	return d
}

func (s Statement) applies(r Request) bool {
	return s.hasAction(r.Action) && s.hasResource(r) && s.meets(r.Context)
}

// hasAction compares actions without regard to case. (IAM user guide, "IAM JSON policy elements: Action")
func (s Statement) hasAction(action string) bool {
	action = strings.ToLower(action)
	if len(s.NotAction) > 0 {
		return !anyMatches(s.NotAction, action)
	}
	return anyMatches(s.Action, action)
}

func anyMatches(patterns []string, action string) bool {
	for _, pattern := range patterns {
		if wildcard(strings.ToLower(pattern), action) {
			return true
		}
	}
	return false
}

func (s Statement) hasResource(r Request) bool {
	for _, pattern := range s.Resource {
		if filled, ok := fill(pattern, r.Context); ok && wildcard(filled, r.Resource) {
			return true
		}
	}
	return false
}

// meets reports whether all conditions hold: they are joined with and, the values of one with or. (IAM
// user guide, "Conditions with multiple context keys or values")
func (s Statement) meets(c Context) bool {
	for operator, keys := range s.Condition {
		o, err := parseOperator(operator)
		if err != nil {
			return false // Parse refuses it
		}
		for key, values := range keys {
			if !o.holds(values, c, key) {
				return false
			}
		}
	}
	return true
}
