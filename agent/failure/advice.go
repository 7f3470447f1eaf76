package failure

import (
	"errors"
	"strings"
)

// ReportTo is the address for reports of bugs: that of the packages' maintainer.
const ReportTo = "maintainers@snapsource.invalid"

// Advise returns err with its own advice for the operator, in place of the general one for
// its meaning. The outermost advice counts. It returns nil for nil.
func Advise(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &advised{err, advice}
}

// advised is an error with its own advice.
type advised struct {
	error
	advice string
}

func (e *advised) Unwrap() error { return e.error }

// FollowedBy returns an error with the text of both. Its meaning is that of first alone:
// later is what failed because of it, or while it was handled. One that is nil is left out.
func FollowedBy(first, later error) error {
	switch {
	case first == nil:
		return later
	case later == nil:
		return first
	}
	return &followed{first, later}
}

type followed struct{ first, later error }

func (e *followed) Error() string { return e.first.Error() + "; " + e.later.Error() }
func (e *followed) Unwrap() error { return e.first }

// Several joins failures that are independent of each other, such as those of several
// sources; nil ones are left out. [Branches] returns them again.
func Several(errs ...error) error {
	var all []error
	for _, err := range errs {
		all = append(all, Branches(err)...)
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return &several{all}
}

// several are independent failures, at least two.
type several struct{ errs []error }

func (e *several) Unwrap() []error { return e.errs }

func (e *several) Error() string {
	var texts []string
	for _, err := range e.errs {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "\n")
}

// Branches returns the independent failures in err, each with a meaning of its own: usually
// err alone; none for nil.
func Branches(err error) []error {
	if err == nil {
		return nil
	}
	if list, ok := errors.AsType[*several](err); ok {
		return list.errs
	}
	return []error{err}
}
