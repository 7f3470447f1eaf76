package mountfs

import "errors"

// ErrThawed: the file system was thawed before Thaw. It was writable for some of the time.
var ErrThawed = errors.New("thawed too early")
