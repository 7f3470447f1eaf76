//go:build !linux

package hotset

import (
	"context"
	"errors"
	"fmt"

	"snapsource/mountfs"
)

// Errors of Record and Load.
var (
	ErrTooSlow = errors.New("the hot set was not recorded in time")
	ErrPlace   = errors.New("not a place for a record of a hot set")
)

// Record needs Linux.
func Record(context.Context, string, Options) (Summary, error) {
	return Summary{}, fmt.Errorf("%w: record a hot set", mountfs.ErrUnsupported)
}

// Load needs Linux.
func Load(string, int64) (Set, bool, error) {
	return Set{}, false, fmt.Errorf("%w: load a hot set", mountfs.ErrUnsupported)
}
