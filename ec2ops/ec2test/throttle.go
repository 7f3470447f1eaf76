package ec2test

import (
	"strings"
	"time"
)

// Throttle is the way in which EC2 throttles an account's calls in a region, by token
// buckets. (EC2 developer guide, "Request throttling for the Amazon EC2 API")
type Throttle int

const (
	// Unthrottled accepts all calls.
	Unthrottled Throttle = iota
	// PerAction has a bucket per action, as in the guide.
	PerAction
	// SharedMutations has one bucket for all mutating actions, that of the scarcest of
	// them, as the EBS CSI driver assumes (pkg/cloud/retry_manager.go).
	SharedMutations
)

// limit is a bucket's size and its refill rate in tokens per second.
type limit struct{ size, refill float64 }

// limits are those of the guide's table, by action.
var limits = map[string]limit{
	"CreateVolume":            {100, 5},
	"DeleteVolume":            {100, 5},
	"CreateSnapshot":          {100, 5},
	"DeleteSnapshot":          {100, 5},
	"CreateTags":              {100, 10},
	"DeleteTags":              {100, 10},
	"AttachVolume":            mutating,
	"DetachVolume":            mutating,
	"ModifyInstanceAttribute": mutating,
	"ModifyVolume":            mutating,
}

// The guide's categories. A describe call without a filter, an id or a page size costs more
// and has a bucket of its own.
var (
	mutating   = limit{50, 5}
	describing = limit{100, 20}
	unfiltered = limit{50, 10}
)

// bucket holds the remaining tokens of a limit.
type bucket struct {
	limit
	tokens float64
	at     time.Time
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time) bool {
	b.tokens = min(b.size, b.tokens+now.Sub(b.at).Seconds()*b.refill)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// throttled returns EC2's error for a call without a token.
func (s *Server) throttled(action string, c *call) error {
	name, l := s.bucketOf(action, c)
	if name == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		b = &bucket{l, l.size, c.now}
		s.buckets[name] = b
	}
	if b.take(c.now) {
		return nil
	}
	return fail("RequestLimitExceeded", "Request limit exceeded.")
}

// bucketOf returns the bucket of a call; "" for none.
func (s *Server) bucketOf(action string, c *call) (string, limit) {
	switch l, listed := limits[action]; {
	case s.opts.Throttle == Unthrottled || strings.HasPrefix(action, "Get"):
		return "", limit{}
	case strings.HasPrefix(action, "Describe"):
		for key := range c.form {
			if strings.HasPrefix(key, "Filter.") || key == "MaxResults" || strings.HasSuffix(key, "Id.1") {
				return action, describing
			}
		}
		return action + ", unfiltered", unfiltered
	case s.opts.Throttle == SharedMutations:
		return "mutations", mutating
	case listed:
		return action, l
	}
	return action, mutating
}
