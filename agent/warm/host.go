package warm

import (
	"context"
	"os"
	"strconv"
	"strings"
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

// OpenFiles implements [Kernel].
func (Host) OpenFiles(mountpoint string) (Files, error) {
	b, err := mountfs.OpenBelow(mountpoint)
	if err != nil {
		return nil, err // not b: a nil pointer in an interface is not nil
	}
	return b, nil
}

// MemoryAvailable implements [Kernel]. (proc_meminfo(5))
func (Host) MemoryAvailable() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(words[0], 10, 64) // 0 if it is no number
	return kib << 10
}

// OpenReader implements [Kernel].
func (Host) OpenReader(d mountfs.Device) (Reader, error) {
	r, err := mountfs.OpenReader(d)
	if err != nil {
		return nil, err // not r: a nil pointer in an interface is not nil
	}
	return r, nil
}
