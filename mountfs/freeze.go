package mountfs

import "errors"

// ErrThawed means that the file system was thawed before Thaw: it was writable for some of
// the time.
var ErrThawed = errors.New("thawed too early")
