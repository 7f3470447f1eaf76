package agenttest

import (
	"context"
	"time"

	"snapsource/agent"
	"snapsource/agent/deploy"
	"snapsource/agent/hotset"
	"snapsource/agent/record"
	"snapsource/mountfs"
)

// Watched returns a host that calls pass before and after each operation that changes it:
// "before mount", "after mount". If pass fails before, its error is returned and the operation is
// skipped; if it fails after, its error replaces the operation's result.
func Watched(h Host, pass func(moment string) error) Host {
	return watched{h, pass}
}

type watched struct {
	Host
	pass func(moment string) error
}

// around calls do between two moments.
func around[T any](pass func(string) error, name string, do func() (T, error)) (T, error) {
	var none T
	if err := pass("before " + name); err != nil {
		return none, err
	}
	v, err := do()
	if killed := pass("after " + name); killed != nil {
		return none, killed
	}
	return v, err
}

func aroundError(pass func(string) error, name string, do func() error) error {
	_, err := around(pass, name, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (w watched) Lock(ctx context.Context, waiting func()) (func() error, error) {
	return around(w.pass, "lock", func() (func() error, error) { return w.Host.Lock(ctx, waiting) })
}

func (w watched) MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error) {
	return around(w.pass, "mount", func() (mountfs.XFSMount, error) { return w.Host.MountXFS(d, target, options) })
}

func (w watched) Grow(mountpoint string, size int64) (before, after int64, err error) {
	err = aroundError(w.pass, "grow", func() error {
		before, after, err = w.Host.Grow(mountpoint, size)
		return err
	})
	return before, after, err
}

func (w watched) Bind(mountpoint, dir, target string, create bool) (bool, error) {
	return around(w.pass, "bind", func() (bool, error) { return w.Host.Bind(mountpoint, dir, target, create) })
}

func (w watched) Unmount(target string) error {
	return aroundError(w.pass, "unmount", func() error { return w.Host.Unmount(target) })
}

func (w watched) RecordHotSet(ctx context.Context, mountpoint string) (hotset.Summary, error) {
	return around(w.pass, "hot set", func() (hotset.Summary, error) { return w.Host.RecordHotSet(ctx, mountpoint) })
}

func (w watched) Flush(mountpoint string) error {
	return aroundError(w.pass, "flush", func() error { return w.Host.Flush(mountpoint) })
}

func (w watched) SaveRecord(r record.Record) error {
	return aroundError(w.pass, "record", func() error { return w.Host.SaveRecord(r) })
}

func (w watched) DropRecord(source string) error {
	return aroundError(w.pass, "drop record", func() error { return w.Host.DropRecord(source) })
}

func (w watched) Freeze(mountpoint string, limit time.Duration, lost func()) (deploy.Frozen, error) {
	return around(w.pass, "freeze", func() (deploy.Frozen, error) {
		f, err := w.Host.Freeze(mountpoint, limit, lost)
		if err != nil {
			return nil, err
		}
		return watchedFrozen{f, w.pass}, nil
	})
}

type watchedFrozen struct {
	deploy.Frozen
	pass func(moment string) error
}

func (f watchedFrozen) Thaw() (time.Duration, error) {
	return around(f.pass, "thaw", f.Frozen.Thaw)
}

func (w watched) OpenDisk(d mountfs.Device) (agent.Disk, error) {
	disk, err := w.Host.OpenDisk(d)
	if err != nil {
		return nil, err
	}
	return watchedDisk{disk, w.pass}, nil
}

type watchedDisk struct {
	agent.Disk
	pass func(moment string) error
}

func (d watchedDisk) Format(ctx context.Context, f mountfs.Format) error {
	return aroundError(d.pass, "mkfs.xfs", func() error { return d.Disk.Format(ctx, f) })
}
