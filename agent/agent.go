package agent

import (
	"context"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/launchhook"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/agent/roles"
	"snapsource/agent/warm"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Agent applies a [config.Config] to one instance.
type Agent struct {
	Cloud  Cloud
	Host   Host
	Events func(report.Event) // receives every event; never called concurrently
	Warm   Warmer             // for a launch hook that waits for the hot set
	// Confirm, when set, is called before Down deletes these volumes. Its error ends Down before
	// anything is changed.
	Confirm func(ctx context.Context, source string, volumes []ec2ops.Volume) error
}

// Cloud is AWS, as far as the agent needs it. [NewCloud] is the real one.
type Cloud struct {
	Metadata    Metadata
	Snapshots   Snapshots
	Volumes     Volumes
	Attachments Attachments
	Tags        roles.Tags
	Group       launchhook.Group
	Launches    admission.Cloud
}

// NewCloud is AWS by its client.
func NewCloud(c *ec2ops.Client) Cloud { return Cloud{c, c, c, c, c, c, c} }

// Metadata is the instance metadata service.
type Metadata interface {
	Identify(ctx context.Context, waiting func(reason string)) (ec2ops.Identity, error)
	LaunchDevices(ctx context.Context) (d ec2ops.LaunchDevices, known bool)
}

// Snapshots are the snapshots that a launch chooses from.
type Snapshots interface {
	Snapshots(ctx context.Context, sources ...string) ([]ec2ops.Snapshot, error)
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error)
	SnapshotByID(ctx context.Context, id string) (s ec2ops.Snapshot, known bool, err error)
}

// Volumes are EC2's volumes.
type Volumes interface {
	Volumes(ctx context.Context, instanceID string, sources ...string) ([]ec2ops.Volume, error)
	Attached(ctx context.Context, instanceID string) ([]ec2ops.Volume, error)
	VolumesWithin(ctx context.Context, instanceID, source string, d time.Duration) ([]ec2ops.Volume, error)
	Volume(ctx context.Context, id string) (ec2ops.Volume, error)
	WaitVolume(ctx context.Context, id string, pace ec2ops.PollSchedule, done func(ec2ops.Volume) (bool, error), onPoll func(ec2ops.Volume)) (ec2ops.Volume, error)
	CreateVolume(ctx context.Context, spec ec2ops.VolumeSpec) (ec2ops.Volume, error)
	DeleteVolume(ctx context.Context, id string) error
	Tag(ctx context.Context, id string, tags map[string]string) error
}

// Attachments are the attachments of volumes to an instance.
type Attachments interface {
	Attach(ctx context.Context, volumeID, instanceID, device string, waiting func(reason string)) error
	Detach(ctx context.Context, volumeID, instanceID string) error
	DeleteOnTermination(ctx context.Context, instanceID, device, volumeID string) error
	Instance(ctx context.Context, id string) (ec2ops.Instance, error)
}

// Host is the instance that the agent runs on. [NewHost] is the real one.
type Host struct {
	Devices
	Mounter
	Mounted
	record.Store
	Warmings
}

// Devices are the kernel's block devices.
type Devices interface {
	Find(v mountfs.Volume) (mountfs.Device, error)
	// VolumeDevices are the volumes whose devices the kernel shows.
	VolumeDevices() ([]mountfs.VolumeDevice, error)
	// Watch starts listening for the volume's device. Wait first checks whether the device
	// already exists, so no event is missed.
	Watch(v mountfs.Volume) (Watch, error)
	OpenDisk(d mountfs.Device) (Disk, error)
	// Preread reads what mounting the device's XFS will read; see [mountfs.Preread].
	Preread(ctx context.Context, d mountfs.Device) error
	// Users names the users of a device that is not mounted in this mount namespace.
	Users(ctx context.Context, d mountfs.Device) ([]string, error)
	// Holders names what keeps a mounted device from being unmounted and detached.
	Holders(d mountfs.Device) ([]string, error)
	MkfsPath() (string, error)
}

// Mounter mounts and unmounts.
type Mounter interface {
	Mounts() ([]mountfs.Mount, error)
	InspectTarget(path string) (mountfs.Target, error)
	MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error)
	Grow(mountpoint string, deviceSize int64) (before, after int64, err error)
	Bind(mountpoint, dir, target string, create bool) (already bool, err error)
	CheckBind(mountpoint, dir, target string) (bool, error)
	Unmount(target string) error
	// CheckOptions returns mountfs.ErrOption if the kernel's XFS does not know an option.
	CheckOptions(options []string) error
}

// Mounted is what the agent does with a file system that is mounted.
type Mounted interface {
	Remount(target string, options []string) error
	// CheckNotFrozen returns mountfs.ErrBusy if the file system mounted at path is frozen.
	CheckNotFrozen(path string) error
	// Revision returns the revision of the release in a Source directory, "" for none.
	Revision(dir string) string
}

// Warmer reads the blocks of a mounted volume. [*warm.Warm] is the real one.
type Warmer interface {
	Read(ctx context.Context, run *report.Run, at warm.Mounted, o warm.Options) error
}

// Warmings are how far the blocks of the sources' volumes have been read. [record.Dir] is the
// real store.
type Warmings interface {
	LoadWarming(source string) (record.Warming, error)
	// WarmingRuns reports whether a process reads them.
	WarmingRuns(source string) bool
	// EndWarming ends that process.
	EndWarming(ctx context.Context, source string) error
}

// Watch waits for a volume's device node.
type Watch interface {
	Wait(ctx context.Context) (mountfs.Device, error)
	Close() error
}

// Disk is a device that this process has locked.
type Disk interface {
	Probe(ours string) (mountfs.Contents, error)
	Format(ctx context.Context, f mountfs.Format) error
	Close() error
}
