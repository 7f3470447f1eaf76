package mountfs

import "errors"

// ErrThawed says that the file system was not frozen any more when it was to be thawed. What
// was done meanwhile was done to one that could be written to.
var ErrThawed = errors.New("thawed too early")
