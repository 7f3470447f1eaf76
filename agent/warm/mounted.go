package warm

import (
	"fmt"

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
	var why string
	if at.Record, why, err = record.Finished(w.Store, source); err != nil {
		return at, err
	}
	if why != "" {
		return notReady(why)
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
