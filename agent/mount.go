package agent

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/mountfs"
)

// mount mounts the file system and the binds, and verifies each in the kernel's mount table.
// targets are the mountpoint and the bind targets as they were before.
func (l *launch) mount(a attached, targets []mountfs.Target) (at mounted, err error) {
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
		create := at.volume.SnapshotID == "" && at.origin != arrived
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
	l.noteParents(targets)
	return at, l.remount(s, at.device)
}

// noteParents names the directories above the targets that did not exist. They now belong to
// root, and useradd(8) leaves an existing home as it is.
func (l *launch) noteParents(targets []mountfs.Target) {
	noted := ""
	for _, t := range targets {
		if t.Missing != "" && t.Missing != t.Path && t.Missing != noted {
			noted = t.Missing
			l.Note(noted + " did not exist and now belongs to root: if it is a user's home, create the user in the machine image")
		}
	}
}

// remount gives mounts of earlier runs the configured options: all of them, or none if a
// process writes to one that is to be read-only.
func (l *launch) remount(s *report.Running, dev mountfs.Device) error {
	mounts, err := l.host.Mounts()
	if err != nil {
		return err
	}
	var changed []mountfs.Mount
	for _, p := range l.targetPaths() {
		m, _ := mountfs.MountAt(mounts, p)
		if len(mountfs.OptionsDiffer(l.src.MountOptions, m)) == 0 {
			continue
		}
		if err := l.host.Remount(p, l.src.MountOptions); err != nil {
			for _, m := range changed {
				err = failure.FollowedBy(err, l.host.Remount(m.Target, strings.Split(m.Options, ",")))
			}
			return l.remountError(err, dev)
		}
		changed = append(changed, m)
	}
	if len(changed) > 0 {
		s.Detail += ", remounted with " + strings.Join(l.src.MountOptions, ",")
	}
	return nil
}

// remountError names who keeps the mounts from being changed.
func (l *launch) remountError(err error, dev mountfs.Device) error {
	if !errors.Is(err, mountfs.ErrBusy) {
		return err
	}
	users := "what writes to it"
	if holders, holdersErr := l.host.Holders(dev); holdersErr == nil && len(holders) > 0 {
		users = strings.Join(holders, ", ")
	}
	return failure.Advise(err, "stop "+users+", or remove ro from mount-option; then run it again")
}
