package record

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"snapsource/agent/config"
	"snapsource/agent/failure"
)

// checkWritable checks the file system of a directory, or of the first one above it that
// exists. On a tmpfs without a limit all counts are 0. (tmpfs(5), shmem_statfs)
func checkWritable(dir string) error {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for ; errors.Is(err, unix.ENOENT) && dir != "/"; err = unix.Statfs(dir, &st) {
		dir = filepath.Dir(dir)
	}
	switch {
	case err != nil:
		return fmt.Errorf("statfs %s: %w", dir, err)
	case st.Flags&unix.ST_RDONLY != 0:
		return failure.Advise(config.Usagef("%s is on a read-only file system, so the result of a run can't be recorded", dir),
			"mount a writable file system at /run, usually a tmpfs")
	case st.Blocks > 0 && st.Bavail == 0, st.Files > 0 && st.Ffree == 0:
		return failure.Advise(fmt.Errorf("%w: the file system of %s is full, so the result of a run can't be recorded", failure.ErrTemporary, dir),
			"free some space there (df -h "+dir+"), then run it again")
	}
	return nil
}
