package mountfs

import "errors"

// ErrNotBelow says that a path leads out of its directory, or to what is no regular file of a size
// that is to be read.
var ErrNotBelow = errors.New("no small regular file below it")
