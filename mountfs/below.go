package mountfs

import "errors"

// ErrNotBelow means that a path leads out of its directory, or not to a regular file of the
// permitted size.
var ErrNotBelow = errors.New("no small regular file below it")
