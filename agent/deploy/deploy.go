package deploy

import (
	"context"
	"time"

	"snapsource/agent/failure"
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
	Host     Host
	Events   func(report.Event)      // told of every step; called from one goroutine at a time
	Hold     func() (release func()) // keeps back what the program writes; nil: nothing is
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
	Flush(mountpoint string) error
	// Freeze keeps everybody from writing for at most limit; lost is called, from
	// another goroutine, when it comes to an end before it is thawed.
	Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error)
	// Revision gives the revision of the release in a Source directory, "" for none.
	Revision(dir string) string
	LoadRecord(source string) (record.Record, error)
}

// Frozen is a file system that is frozen.
type Frozen interface {
	// Thaw ends it, and gives how long it lasted; [mountfs.ErrThawed] when it had
	// come to an end before.
	Thaw() (time.Duration, error)
}

// NewHost gives the real host, with the records of dir.
func NewHost(dir record.Dir) Host { return host{dir} }

type host struct{ record.Dir }

func (host) Mounts() ([]mountfs.Mount, error)              { return mountfs.Mounts() }
func (host) Find(v mountfs.Volume) (mountfs.Device, error) { return mountfs.Find(v) }
func (host) Revision(dir string) string                    { return revisionOf(dir) }
func (host) Flush(mountpoint string) error                 { return failure.NotRoot(mountfs.Flush(mountpoint)) }

func (host) Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error) {
	f, err := mountfs.Freeze(mountpoint, limit, lost)
	if err != nil {
		return nil, failure.NotRoot(err) // not f: a nil in an interface is none
	}
	return f, nil
}
