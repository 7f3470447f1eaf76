package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/mountfs"
)

// mount mounts the file system and the binds, and verifies each in the kernel's mount table.
func (l *launch) mount(_ context.Context, a attached) (at mounted, err error) {
	at.attached = a
	s := l.Begin(report.Mount)
	defer s.End(&err)
	defer l.Await(report.OnKernel, "the mounts")()
	xfs, err := l.host.MountXFS(at.device, l.src.Mount, l.src.MountOptions)
	if err != nil {
		return at, err
	}
	at.byThisRun = !xfs.Already
	s.Detail = l.src.Mount
	if xfs.NoUUID {
		s.Detail += " (nouuid: another volume with the same UUID is mounted)"
	}
	before, after, err := l.host.Grow(l.src.Mount, at.device.Size)
	if err != nil {
		return at, err
	}
	if after > before {
		s.Detail += fmt.Sprintf(" (grown from %s to %s)", gib(before), gib(after))
	}
	for _, bind := range l.src.Binds {
		// Create the directory only on a volume that began blank. A snapshot without it is
		// not a release of this source.
		create := at.volume.SnapshotID == ""
		_, err := l.host.Bind(l.src.Mount, bind.Dir, bind.Target, create)
		if errors.Is(err, mountfs.ErrRefused) {
			return at, fmt.Errorf("%w: %s: %w", failure.ErrNotRelease, cmp.Or(at.volume.SnapshotID, at.volume.ID), err)
		}
		if err != nil {
			return at, err
		}
		s.Detail += ", " + bind.Target
	}
	at.complete = true
	return at, nil
}
