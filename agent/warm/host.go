package warm

import (
	"context"
	"time"

	"snapsource/agent/hotset"
	"snapsource/mountfs"
)

// Host is the host that this process runs on.
type Host struct{}

var _ Kernel = Host{}

// Find implements [Kernel].
func (Host) Find(v mountfs.Volume) (mountfs.Device, error) { return mountfs.Find(v) }

// Mounts implements [Kernel].
func (Host) Mounts() ([]mountfs.Mount, error) { return mountfs.Mounts() }

// SpaceInUse implements [Kernel].
func (Host) SpaceInUse(mountpoint string) (mountfs.Space, error) {
	return mountfs.SpaceInUse(mountpoint)
}

// HotSet implements [Kernel].
func (Host) HotSet(mountpoint string, deviceSize int64) (hotset.Set, bool, error) {
	return hotset.Load(mountpoint, deviceSize)
}

// RecordHotSet implements [Kernel].
func (Host) RecordHotSet(ctx context.Context, mountpoint string) (hotset.Summary, error) {
	return hotset.Record(ctx, mountpoint, hotset.Options{ByHand: true, Limit: byHandLimit})
}

// byHandLimit is how long a record by hand may take: nobody waits for a snapshot.
const byHandLimit = time.Minute

// OpenReader implements [Kernel].
func (Host) OpenReader(d mountfs.Device) (Reader, error) {
	r, err := mountfs.OpenReader(d)
	if err != nil {
		return nil, err // not r: a nil pointer in an interface is not nil
	}
	return r, nil
}
