//go:build vm

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"snapsource/ec2ops/ec2test"
)

// disks holds the data of volumes and snapshots as sparse files, and plugs volumes into
// the machines as NVMe devices. It implements [ec2test.Disks].
type disks struct {
	dir string
	lab *lab
}

var _ ec2test.Disks = (*disks)(nil)

// image is the file with the data of a volume or snapshot.
func (d *disks) image(id string) string { return filepath.Join(d.dir, id) }

// copySparse copies an image at one point in time, as far as the guest has flushed it.
func copySparse(ctx context.Context, to, from string) error {
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy an image: %w: %s", err, out)
	}
	return nil
}

// CreateVolume implements [ec2test.Disks].
func (d *disks) CreateVolume(ctx context.Context, volumeID string, size int64, snapshotID string) error {
	if snapshotID != "" {
		if err := copySparse(ctx, d.image(volumeID), d.image(snapshotID)); err != nil {
			return err
		}
	} else if err := os.WriteFile(d.image(volumeID), nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(d.image(volumeID), size<<30)
}

// GrowVolume implements [ec2test.Disks].
func (d *disks) GrowVolume(context.Context, string, int64) error {
	return errors.New("the virtual machine's disks don't grow")
}

// DeleteVolume implements [ec2test.Disks].
func (d *disks) DeleteVolume(_ context.Context, volumeID string) error {
	return removed(d.image(volumeID))
}

// CreateSnapshot implements [ec2test.Disks].
func (d *disks) CreateSnapshot(ctx context.Context, snapshotID, volumeID string) error {
	return copySparse(ctx, d.image(snapshotID), d.image(volumeID))
}

// CopySnapshot implements [ec2test.Disks].
func (d *disks) CopySnapshot(ctx context.Context, snapshotID, fromID string) error {
	return copySparse(ctx, d.image(snapshotID), d.image(fromID))
}

// DeleteSnapshot implements [ec2test.Disks].
func (d *disks) DeleteSnapshot(_ context.Context, snapshotID string) error {
	return removed(d.image(snapshotID))
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Attach implements [ec2test.Disks].
func (d *disks) Attach(_ context.Context, instanceID, volumeID string) error {
	d.lab.machine(instanceID).attach(volumeID)
	return nil
}

// Detach implements [ec2test.Disks].
func (d *disks) Detach(_ context.Context, instanceID, volumeID string) error {
	d.lab.machine(instanceID).detach(volumeID)
	return nil
}
