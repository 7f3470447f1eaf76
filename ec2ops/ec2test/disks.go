package ec2test

import "context"

// Disks stores the data of volumes and snapshots. Its methods are called without a lock on
// the World, so they may take long and may call the Server. After an error the action fails
// with InternalError and leaves the World unchanged, unless a method says otherwise.
type Disks interface {
	// CreateVolume creates the data of a volume of size GiB, from a snapshot unless
	// snapshotID is "". It is called before the volume is recorded, and DeleteVolume after
	// it if that fails.
	CreateVolume(ctx context.Context, volumeID string, size int64, snapshotID string) error
	// GrowVolume enlarges a volume to size GiB, also while it is attached. It is called after
	// the new size is recorded.
	GrowVolume(ctx context.Context, volumeID string, size int64) error
	// DeleteVolume removes the data of a volume; there may be none.
	DeleteVolume(ctx context.Context, volumeID string) error
	// CreateSnapshot captures a volume at one point in time before it returns.
	CreateSnapshot(ctx context.Context, snapshotID, volumeID string) error
	// CopySnapshot copies the data of a snapshot.
	CopySnapshot(ctx context.Context, snapshotID, fromID string) error
	// DeleteSnapshot removes the data of a snapshot; there may be none.
	DeleteSnapshot(ctx context.Context, snapshotID string) error
	// Attach is called when an attachment was recorded. The device appears at the
	// attachment's Plugged time.
	Attach(ctx context.Context, instanceID, volumeID string) error
	// Detach is called when a detachment was requested. The attachment stays busy until
	// [Server.Released] is called, during Detach or later.
	Detach(ctx context.Context, instanceID, volumeID string) error
}
