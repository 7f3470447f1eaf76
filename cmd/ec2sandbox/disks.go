//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"snapsource/ec2ops/ec2test"
)

// busyPoll is the poll interval for a device in use that is being detached.
const busyPoll = 100 * time.Millisecond

// disks stores the data of volumes and snapshots, and attaches the volumes of one instance
// as loop devices. It implements [ec2test.Disks].
type disks struct {
	state  state
	store  ec2test.Store
	server *ec2test.Server // set before the first call

	lazy *lazyMode // nil: volumes are as fast as their images

	instanceID string
	dev        string // the instance's /dev as seen from here

	mu    sync.Mutex
	loops map[string]*loop // by volume id
}

var _ ec2test.Disks = (*disks)(nil)

// CreateVolume implements [ec2test.Disks].
func (d *disks) CreateVolume(ctx context.Context, volumeID string, size int64, snapshotID string) error {
	from := ""
	if snapshotID != "" {
		from = d.state.snapshot(snapshotID)
	}
	if err := createImage(ctx, d.state.volume(volumeID), size*gib, from, nil); err != nil {
		return err
	}
	if from == "" || d.lazy == nil || !d.lazy.profile.cold {
		return nil
	}
	files := d.state.lazyFiles(volumeID)
	return createBlockMap(files.blocks, files.image)
}

// GrowVolume implements [ec2test.Disks].
func (d *disks) GrowVolume(ctx context.Context, volumeID string, size int64) error {
	if err := os.Truncate(d.state.volume(volumeID), size*gib); err != nil {
		return err
	}
	_, err := d.reconcile(ctx)
	return err
}

// DeleteVolume implements [ec2test.Disks].
func (d *disks) DeleteVolume(_ context.Context, volumeID string) error {
	files := d.state.lazyFiles(volumeID)
	return errors.Join(removeFile(files.image), removeFile(files.blocks), removeFile(files.counts))
}

// CreateSnapshot implements [ec2test.Disks].
func (d *disks) CreateSnapshot(ctx context.Context, snapshotID, volumeID string) (err error) {
	if _, err := os.Stat(d.state.volume(volumeID)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the sandbox has no data of %s: it is an instance's root volume", volumeID)
	}
	writer, err := d.writer(ctx, volumeID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.resume()) }()
	return snapshotImage(ctx, d.state.snapshot(snapshotID), d.state.volume(volumeID), writer.stop)
}

// writer returns the pause of the instance that a volume is attached to.
func (d *disks) writer(ctx context.Context, volumeID string) (*pause, error) {
	w, err := d.server.World(ctx)
	if err != nil {
		return nil, err
	}
	if v := w.Volumes[volumeID]; v != nil && v.Attachment != nil {
		if i := w.Instances[v.Attachment.InstanceID]; i != nil {
			return d.state.pause(i.Name)
		}
	}
	return &pause{}, nil
}

// CopySnapshot implements [ec2test.Disks].
func (d *disks) CopySnapshot(ctx context.Context, snapshotID, fromID string) error {
	return snapshotImage(ctx, d.state.snapshot(snapshotID), d.state.snapshot(fromID), nil)
}

// DeleteSnapshot implements [ec2test.Disks].
func (d *disks) DeleteSnapshot(_ context.Context, snapshotID string) error {
	return removeFile(d.state.snapshot(snapshotID))
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an image: %w", err)
	}
	return nil
}

// Attach implements [ec2test.Disks]. Another instance's run notices by itself that the
// World has changed.
func (d *disks) Attach(ctx context.Context, instanceID, _ string) error {
	if instanceID != d.instanceID {
		return nil
	}
	_, err := d.reconcile(ctx)
	return err
}

// Detach implements [ec2test.Disks].
func (d *disks) Detach(ctx context.Context, _, _ string) error {
	_, err := d.reconcile(ctx)
	return err
}

// errTerminated: the instance was terminated.
var errTerminated = errors.New("the instance was terminated")

// errStopped: the instance was stopped; its attachments stay.
var errStopped = errors.New("the instance was stopped")

// reconcile makes the instance's devices match its attachments, and returns the time of the
// next check; zero means when the World changes.
func (d *disks) reconcile(ctx context.Context) (next time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dev == "" { // not booted yet
		return next, nil
	}
	w, err := d.server.World(ctx)
	if err != nil {
		return next, err
	}
	now := time.Now()
	if i := w.Instances[d.instanceID]; i == nil || !i.Terminated.IsZero() {
		return next, errTerminated
	} else if i.State(now) == "stopped" {
		return next, errStopped
	}
	var errs []error
	wanted := map[string]bool{}
	for _, v := range w.Volumes {
		a := v.Attachment
		if a == nil || v.Root || a.InstanceID != d.instanceID || !a.DetachAsked.IsZero() || a.State(now) == "detached" {
			continue
		}
		wanted[v.ID] = true
		if now.Before(a.Plugged) {
			next = earlier(next, a.Plugged)
			continue
		}
		errs = append(errs, d.show(v))
		if d.growing(v) {
			next = earlier(next, now.Add(busyPoll))
		}
	}
	for id, l := range d.loops {
		if wanted[id] && l.hold != nil {
			continue
		}
		errs = append(errs, l.release())
		if !l.gone() {
			next = earlier(next, now.Add(busyPoll))
			continue
		}
		errs = append(errs, l.removeNode(), l.end())
		delete(d.loops, id)
	}
	errs = append(errs, d.releaseIdle(ctx, &w))
	return next, errors.Join(errs...)
}

// growing says whether another process has recorded a volume's new size and not yet enlarged its
// image.
func (d *disks) growing(v *ec2test.Volume) bool {
	info, err := os.Stat(d.state.volume(v.ID))
	return err == nil && info.Size() < v.Size*gib
}

func (d *disks) show(v *ec2test.Volume) error {
	if l := d.loops[v.ID]; l != nil {
		if l.lazy != nil {
			l.lazy.volume.limits.set(v)
		}
		return l.resize()
	}
	image := d.state.volume(v.ID)
	open := openImage(image)
	var lazy *lazyDisk
	if d.lazy != nil {
		var err error
		if lazy, err = openLazyDisk(d.state, *d.lazy, v, d.dev); err != nil {
			return fmt.Errorf("attach %s: %w", v.ID, err)
		}
		open = lazy.open
	}
	l, err := attachLoop(d.dev, image, v.ID, open)
	if err != nil {
		if lazy != nil {
			err = errors.Join(err, lazy.close())
		}
		return err
	}
	l.lazy = lazy
	d.loops[v.ID] = l
	return nil
}

// releaseIdle reports busy volumes that have no device any more as released: ours, and
// those of instances that are not running.
func (d *disks) releaseIdle(ctx context.Context, w *ec2test.World) error {
	var errs []error
	for _, v := range w.Volumes {
		if v.Attachment == nil || !v.Attachment.Busy {
			continue
		}
		owner := w.Instances[v.Attachment.InstanceID]
		used := d.loops[v.ID] != nil
		if owner != nil && owner.ID != d.instanceID {
			used = d.state.alive(owner.Name)
		}
		if !used {
			errs = append(errs, d.server.Released(ctx, v.ID))
		}
	}
	return errors.Join(errs...)
}

// closeAll releases all devices after the instance's end, and waits until the kernel has
// cleared them.
func (d *disks) closeAll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dev = ""
	var errs []error
	for _, l := range d.loops {
		l.links = nil // removed with the instance
		if l.lazy != nil {
			l.lazy.volume.rush()
		}
		errs = append(errs, l.release())
	}
	for deadline := time.Now().Add(teardownTimeout); ; time.Sleep(backingPoll) {
		var left []int
		for _, l := range d.loops {
			if !l.gone() {
				left = append(left, l.number)
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			slices.Sort(left)
			errs = append(errs, fmt.Errorf("loop devices %v are still in use after the instance has ended", left))
			break
		}
	}
	for _, l := range d.loops {
		if l.gone() {
			errs = append(errs, l.end())
		}
	}
	clear(d.loops)
	return errors.Join(errs...)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// boot sets the instance's /dev, in which devices appear from now on.
func (d *disks) boot(dev string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dev = dev
}
