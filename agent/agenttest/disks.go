package agenttest

import (
	"context"
	"slices"
	"sync"

	"snapsource/ec2ops/ec2test"
	"snapsource/mountfs"
)

// Disks hold the contents of volumes and snapshots. A volume begins with its snapshot's contents,
// or blank. It implements [ec2test.Disks].
type Disks struct {
	server *ec2test.Server

	mu              sync.Mutex
	volumes         map[string]*disk
	snapshots       map[string]mountfs.Contents
	inconsistent    map[string]bool // snapshots of what was mounted and not frozen
	detachedMounted []string        // volumes whose detachment was requested while they were mounted
}

// disk is a volume's contents and its state in the kernel.
type disk struct {
	contents mountfs.Contents
	mounts   int // binds too
	frozen   bool
}

var _ ec2test.Disks = (*Disks)(nil)

func newDisks() *Disks {
	return &Disks{volumes: map[string]*disk{}, snapshots: map[string]mountfs.Contents{}, inconsistent: map[string]bool{}}
}

// release is the contents of a snapshot that was added without an API call.
func release() mountfs.Contents {
	return mountfs.Contents{Kind: mountfs.XFS, What: "XFS", XFS: &mountfs.Superblock{
		UUID: "5eed0000-0000-4000-8000-000000000001", Label: "codepen-app",
	}}
}

// SetSnapshot changes what a snapshot holds.
func (d *Disks) SetSnapshot(id string, c mountfs.Contents) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.snapshots[id] = c
}

// Consistent reports whether a snapshot was taken while the file system was frozen or not
// mounted. A snapshot that was added without an API call is consistent.
func (d *Disks) Consistent(snapshotID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.inconsistent[snapshotID]
}

// Contents returns what a volume holds.
func (d *Disks) Contents(volumeID string) mountfs.Contents {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at(volumeID).contents
}

// Frozen reports whether a volume's file system is frozen.
func (d *Disks) Frozen(volumeID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at(volumeID).frozen
}

// at returns a volume's disk; the caller holds d.mu. A volume that was added without an API call
// begins blank.
func (d *Disks) at(volumeID string) *disk {
	k := d.volumes[volumeID]
	if k == nil {
		k = &disk{contents: blank()}
		d.volumes[volumeID] = k
	}
	return k
}

func blank() mountfs.Contents { return mountfs.Contents{Kind: mountfs.Blank, What: "blank"} }

// change changes a volume's disk by do.
func (d *Disks) change(volumeID string, do func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do(d.at(volumeID))
}

// mounted adds n to the number of mounts. After the last unmount the kernel releases a device
// whose detachment was requested.
func (d *Disks) mounted(volumeID string, n int) error {
	idle := false
	d.change(volumeID, func(k *disk) {
		k.mounts += n
		idle = k.mounts == 0
	})
	if idle {
		return d.server.Released(context.Background(), volumeID)
	}
	return nil
}

// CreateVolume implements [ec2test.Disks].
func (d *Disks) CreateVolume(_ context.Context, volumeID string, _ int64, snapshotID string) error {
	contents := blank()
	if snapshotID != "" {
		d.mu.Lock()
		held, known := d.snapshots[snapshotID]
		d.mu.Unlock()
		if contents = held; !known {
			contents = release()
		}
	}
	d.change(volumeID, func(k *disk) { k.contents = contents })
	return nil
}

// GrowVolume implements [ec2test.Disks].
func (d *Disks) GrowVolume(context.Context, string, int64) error { return nil }

// DeleteVolume implements [ec2test.Disks].
func (d *Disks) DeleteVolume(_ context.Context, volumeID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.volumes, volumeID)
	return nil
}

// CreateSnapshot implements [ec2test.Disks].
func (d *Disks) CreateSnapshot(_ context.Context, snapshotID, volumeID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.at(volumeID)
	d.snapshots[snapshotID] = k.contents
	if k.mounts > 0 && !k.frozen {
		d.inconsistent[snapshotID] = true
	}
	return nil
}

// CopySnapshot implements [ec2test.Disks].
func (d *Disks) CopySnapshot(_ context.Context, snapshotID, fromID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	held, known := d.snapshots[fromID]
	if !known {
		held = release()
	}
	d.snapshots[snapshotID], d.inconsistent[snapshotID] = held, d.inconsistent[fromID]
	return nil
}

// DeleteSnapshot implements [ec2test.Disks].
func (d *Disks) DeleteSnapshot(_ context.Context, snapshotID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.snapshots, snapshotID)
	return nil
}

// Attach implements [ec2test.Disks]. It does nothing, as machines read the control plane.
func (d *Disks) Attach(context.Context, string, string) error { return nil }

// Detach implements [ec2test.Disks].
func (d *Disks) Detach(_ context.Context, _, volumeID string) error {
	d.change(volumeID, func(k *disk) {
		if k.mounts > 0 {
			d.detachedMounted = append(d.detachedMounted, volumeID)
		}
	})
	return d.mounted(volumeID, 0)
}

// DetachedMounted returns the volumes whose detachment was requested while they were mounted.
func (d *Disks) DetachedMounted() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.detachedMounted)
}
