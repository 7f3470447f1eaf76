package deploy

import (
	"context"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/hotset"
	"snapsource/agent/publish"
	"snapsource/agent/record"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Deploy takes snapshots on one instance.
type Deploy struct {
	Cloud    Cloud
	Releases releases.Cloud
	Publish  publish.Cloud
	// Templates are searched before a snapshot is pruned; may be nil.
	Templates releases.Templates
	Host      Host
	Events    func(report.Event)      // receives every event; never called concurrently
	Hold      func() (release func()) // holds the program's output; may be nil
}

// Cloud is what a snapshot needs of AWS. *ec2ops.Client implements it.
type Cloud interface {
	Identify(ctx context.Context, waiting func(reason string)) (ec2ops.Identity, error)
	Volume(ctx context.Context, id string) (ec2ops.Volume, error)
	CreateSnapshot(ctx context.Context, spec ec2ops.SnapshotSpec) (ec2ops.Snapshot, error)
	SnapshotsWithin(ctx context.Context, key, value string, d time.Duration) ([]ec2ops.Snapshot, error)
	WaitSnapshot(ctx context.Context, id string, onPoll func(ec2ops.Snapshot)) (ec2ops.Snapshot, error)
	Tag(ctx context.Context, id string, tags map[string]string) error
}

// Host is what a snapshot needs of the instance. [NewHost] implements it.
type Host interface {
	Mounts() ([]mountfs.Mount, error)
	Find(v mountfs.Volume) (mountfs.Device, error)
	// RecordHotSet records the hot set in the file system. It is bounded, except by the time that
	// dirty data takes to be written, which Flush takes too. Once it has returned, nothing is
	// written any more, unless the file system is frozen.
	RecordHotSet(ctx context.Context, mountpoint string) (hotset.Summary, error)
	Flush(mountpoint string) error
	// Freeze freezes the file system for at most limit. If the freeze ends before Thaw, it
	// calls lost from another goroutine.
	Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error)
	// Revision returns the revision of the release in a Source directory, "" for none.
	Revision(dir string) string
	LoadRecord(source string) (record.Record, error)
}

// Frozen is a file system that is frozen.
type Frozen interface {
	// Thaw thaws it and returns how long it was frozen. The error is [mountfs.ErrThawed] if it
	// was thawed before.
	Thaw() (time.Duration, error)
}

// NewHost returns the real host, with the records of dir.
func NewHost(dir record.Dir) Host { return host{dir} }

type host struct{ record.Dir }

func (host) Mounts() ([]mountfs.Mount, error)              { return mountfs.Mounts() }
func (host) Find(v mountfs.Volume) (mountfs.Device, error) { return mountfs.Find(v) }
func (host) Revision(dir string) string                    { return Revision(dir) }
func (host) Flush(mountpoint string) error                 { return failure.NotRoot(mountfs.Flush(mountpoint)) }

func (host) RecordHotSet(ctx context.Context, mountpoint string) (hotset.Summary, error) {
	return hotset.Record(ctx, mountpoint, hotset.Options{})
}

func (host) Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error) {
	f, err := mountfs.Freeze(mountpoint, limit, lost)
	if err != nil {
		return nil, failure.NotRoot(err) // not f: a nil pointer in an interface is not nil
	}
	return f, nil
}
