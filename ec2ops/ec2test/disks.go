package ec2test

import "context"

// Disks holds the data behind volumes and snapshots. Its methods are called
// without any lock on the World, so they may take long and may call the Server.
// An error makes the action fail with InternalError and leaves the World as it
// was, unless a method says otherwise.
type Disks interface {
	// CreateVolume makes the data of a volume of size GiB, from a snapshot
	// unless snapshotID is "". It is called before the volume is recorded, and
	// DeleteVolume after it if that fails.
	CreateVolume(ctx context.Context, volumeID string, size int64, snapshotID string) error
	// DeleteVolume removes the data of a volume; there may be none.
	DeleteVolume(ctx context.Context, volumeID string) error
	// CreateSnapshot captures a volume at one point in time before it returns.
	CreateSnapshot(ctx context.Context, snapshotID, volumeID string) error
	// CopySnapshot makes the data of a snapshot from those of another.
	CopySnapshot(ctx context.Context, snapshotID, fromID string) error
	// DeleteSnapshot removes the data of a snapshot; there may be none.
	DeleteSnapshot(ctx context.Context, snapshotID string) error
	// Attach is told that an attachment was recorded. The device appears when
	// the attachment's Plugged time comes.
	Attach(ctx context.Context, instanceID, volumeID string) error
	// Detach is told that a detachment was asked for. The attachment stays busy
	// until [Server.Released] is called, during Detach or at any time after it.
	Detach(ctx context.Context, instanceID, volumeID string) error
}
