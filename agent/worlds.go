package agent

import (
	"context"
	"time"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Cloud is what the agent needs of AWS. *ec2ops.Client implements it.
type Cloud interface {
	Identify(ctx context.Context, waiting func(reason string)) (ec2ops.Identity, error)
	Snapshots(ctx context.Context, source string) ([]ec2ops.Snapshot, error)
	Volumes(ctx context.Context, instanceID, source string) ([]ec2ops.Volume, error)
	VolumesWithin(ctx context.Context, instanceID, source string, d time.Duration) ([]ec2ops.Volume, error)
	Volume(ctx context.Context, id string) (ec2ops.Volume, error)
	WaitVolume(ctx context.Context, id string, pace ec2ops.Pace, done func(ec2ops.Volume) (bool, error), seen func(ec2ops.Volume)) (ec2ops.Volume, error)
	CreateVolume(ctx context.Context, spec ec2ops.VolumeSpec) (ec2ops.Volume, error)
	DeleteVolume(ctx context.Context, id string) error
	VolumesOf(ctx context.Context, source string) ([]ec2ops.Volume, error)
	SnapshotByID(ctx context.Context, id string) (s ec2ops.Snapshot, known bool, err error)
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error)
	SnapshotsWithin(ctx context.Context, key, value string, d time.Duration) ([]ec2ops.Snapshot, error)
	CreateSnapshot(ctx context.Context, spec ec2ops.SnapshotSpec) (ec2ops.Snapshot, error)
	WaitSnapshot(ctx context.Context, id string, seen func(ec2ops.Snapshot)) (ec2ops.Snapshot, error)
	DeleteSnapshot(ctx context.Context, id string) error
	Alive(ctx context.Context, instanceIDs []string) (map[string]bool, error)
	Attach(ctx context.Context, volumeID, instanceID, device string, waiting func(reason string)) error
	Detach(ctx context.Context, volumeID, instanceID string) error
	DeleteOnTermination(ctx context.Context, instanceID, device, volumeID string) error
	Instance(ctx context.Context, id string) (ec2ops.Instance, error)
	OwnTags(ctx context.Context, keys []string) (tags map[string]string, known bool)
	Launches(ctx context.Context, image string, from, to time.Time, endings string) (list []ec2ops.Launch, whole bool, err error)
	Tag(ctx context.Context, id string, tags map[string]string) error
	Untag(ctx context.Context, id string, remove map[string]string) error
	TargetLifecycleState(ctx context.Context) (string, error)
	MembershipOf(ctx context.Context, instanceID string) (ec2ops.Membership, error)
	CompleteLifecycleAction(ctx context.Context, group, hook, instanceID, result string) error
	RecordHeartbeat(ctx context.Context, group, hook, instanceID string) error
}

// Host is what the agent needs of the machine it runs on. [NewHost] implements it
// with package mountfs.
type Host interface {
	// Lock takes the host's one lock; waiting is called if another run has it.
	Lock(ctx context.Context, waiting func()) (unlock func() error, err error)
	Mounts() ([]mountfs.Mount, error)
	LookTarget(path string) (mountfs.Target, error)
	Find(v mountfs.Volume) (mountfs.Device, error)
	// Watch begins to listen for the volume's device. Its Wait looks for the device
	// first, so that no event is missed.
	Watch(v mountfs.Volume) (Watch, error)
	OpenDisk(d mountfs.Device) (Disk, error)
	MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error)
	Grow(mountpoint string, deviceSize int64) (before, after int64, err error)
	Bind(mountpoint, dir, target string, create bool) (already bool, err error)
	Unmount(target string) error
	// NotFrozen is mountfs.ErrBusy if somebody has frozen what is mounted at a path.
	NotFrozen(path string) error
	// Users names who uses a device of which nothing is mounted here.
	Users(ctx context.Context, d mountfs.Device) ([]string, error)
	CheckBind(mountpoint, dir, target string) (bool, error)
	MkfsPath() (string, error)
	// Revision gives the revision of the release in a Source directory, "" for none.
	Revision(dir string) string
	Flush(mountpoint string) error
	// Freeze keeps everybody from writing for at most limit; lost is called, from
	// another goroutine, when it comes to an end before it is thawed.
	Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error)
	LoadRecord(source string) (Record, error)
	// Records gives those of all sources; what can't be read is left out.
	Records() []Record
	SaveRecord(Record) error
	DropRecord(source string) error
}

// Watch waits for a volume's device node.
type Watch interface {
	Wait(ctx context.Context) (mountfs.Device, error)
	Close() error
}

// Disk is a device that this process holds while it decides about it.
type Disk interface {
	Probe(ours string) (mountfs.Contents, error)
	Format(ctx context.Context, f mountfs.Format) error
	Close() error
}

// Frozen is a file system that is frozen.
type Frozen interface {
	// Thaw ends it, and gives how long it lasted; [mountfs.ErrThawed] when it had
	// come to an end before.
	Thaw() (time.Duration, error)
}
