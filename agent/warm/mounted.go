package warm

import (
	"errors"
	"fmt"
	"io/fs"

	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/mountfs"
)

// Mounted is a volume whose file system is mounted.
type Mounted struct {
	Record     record.Record
	Device     mountfs.Device
	Mountpoint string
}

var errNotMounted = failure.New(failure.ErrTemporary, "not mounted here")

// find finds a source's device, and where its file system is mounted.
func (w *Warm) find(source string) (at Mounted, err error) {
	notReady := func(why string) (Mounted, error) {
		err := fmt.Errorf("%w: %s: %s", errNotMounted, source, why)
		return at, failure.Advise(err, "run snapsource up first")
	}
	at.Record, err = w.Store.LoadRecord(source)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && at.Record.Ready.IsZero():
		return notReady("no launch has finished since this instance was booted")
	case errors.Is(err, fs.ErrPermission):
		return at, failure.NotRoot(fmt.Errorf("read the record of the last launch: %w", err))
	case err != nil:
		return notReady("the record of the last launch can't be read: " + failure.Line(err))
	}
	if at.Device, err = w.Kernel.Find(at.Record.Wants()); err != nil {
		return notReady(failure.Line(err))
	}
	mounts, err := w.Kernel.Mounts()
	if err != nil {
		return at, err
	}
	for _, m := range mounts {
		if m.Root == "/" && mountfs.MountedAt(mounts, m.Target, at.Device) { // and nothing is mounted over it
			at.Mountpoint = m.Target
		}
	}
	if at.Mountpoint == "" {
		return notReady(at.Record.Volume + " is not mounted")
	}
	return at, nil
}
