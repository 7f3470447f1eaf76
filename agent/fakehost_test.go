package agent

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"snapsource/agent/deploy"
	"snapsource/agent/hotset"
	"snapsource/agent/record"
	"snapsource/mountfs"
)

// fakeHost is a kernel in memory: a device shows when its volume is attached.
type fakeHost struct {
	mu               sync.Mutex // held by the methods that change something; never while they call fakeCloud's
	cloud            *fakeCloud
	mounts           map[string]uint32 // target → minor of the device; binds too
	roots            map[string]string // target of a bind → what it shows
	options          map[string]string // target → its mount options
	remountErr       map[string]error  // by target
	covered          string            // a mountpoint over which a tmpfs is mounted
	shutdown         bool              // the file system has shut down
	grownTo          int64             // bytes
	runErr           error             // why no record can be saved
	targets          map[string]mountfs.Target
	records          map[string]record.Record
	snapshotContents mountfs.Contents
	deviceSize       int64 // 0: the volume's
	noMkfs           bool
	preread          []string // nodes of devices
	noDevice         bool
	xen              bool // devices have names, and no ids
	vendorBytes      bool // the NVMe controllers say EC2's device names
	formatted        []string
	made             []string // directories that binds made
	lockErr          error
	users            []string            // of the device, elsewhere
	holders          map[uint32][]string // of a mounted device, by its minor number
	unmountErr       map[string]error
	killInFormat     bool
	revision         string
	hot              hotset.Summary
	hotErr           error
	freezeErr        error
	frozen           bool
	warming          record.Warming
	warmingRuns      bool
	guardDies        time.Duration // after the freeze; 0: it does not
}

func (h *fakeHost) Lock(context.Context, func()) (func() error, error) {
	return func() error { return nil }, h.lockErr
}

func (h *fakeHost) Mounts() ([]mountfs.Mount, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []mountfs.Mount
	for target, minor := range h.mounts {
		all = append(all, mountfs.Mount{Target: target, Root: cmp.Or(h.roots[target], "/"), FSType: "xfs", Major: 259, Minor: minor, Options: cmp.Or(h.options[target], "rw,noatime,nosuid,nodev")})
	}
	if h.covered != "" {
		for i := range all { // so that the tmpfs is on top
			if all[i].Target == h.covered {
				all[i].ID = 1
			} else {
				all[i].ID = i + 10
			}
		}
		all = append(all, mountfs.Mount{ID: 2, Parent: 1, Target: h.covered, Root: "/", FSType: "tmpfs", Source: "tmpfs"})
	}
	return all, nil
}

func (h *fakeHost) InspectTarget(path string) (mountfs.Target, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shutdown {
		return mountfs.Target{}, fmt.Errorf("inspect %s: %w", path, mountfs.ErrShutdown)
	}
	if t, ok := h.targets[path]; ok {
		t.Path = path
		return t, nil
	}
	if h.covered == path {
		return mountfs.Target{Path: path, State: mountfs.Mounted, Mount: mountfs.Mount{FSType: "tmpfs", Source: "tmpfs"}}, nil
	}
	if minor, ok := h.mounts[path]; ok {
		return mountfs.Target{Path: path, State: mountfs.Mounted, Mount: mountfs.Mount{Major: 259, Minor: minor, FSType: "xfs", Options: cmp.Or(h.options[path], "rw,noatime,nosuid,nodev")}}, nil
	}
	return mountfs.Target{Path: path, State: mountfs.Absent}, nil
}

func (h *fakeHost) Find(ref mountfs.Volume) (mountfs.Device, error) {
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	v, ok := h.cloud.volumes[ref.ID]
	if !ok || len(v.Attachments) == 0 || h.noDevice {
		return mountfs.Device{}, fmt.Errorf("%s: %w", ref.ID, mountfs.ErrNoDevice)
	}
	var minor uint32
	fmt.Sscanf(ref.ID, "vol-%x", &minor)
	size := h.deviceSize
	if size == 0 {
		size = v.Bytes()
	}
	return mountfs.Device{Node: fmt.Sprintf("/dev/nvme%dn1", minor), Major: 259, Minor: minor, Size: size, By: map[bool]string{true: "name", false: "serial"}[h.xen]}, nil
}

type fakeWatch struct {
	h   *fakeHost
	ref mountfs.Volume
}

func (h *fakeHost) Watch(v mountfs.Volume) (Watch, error) { return fakeWatch{h, v}, nil }
func (w fakeWatch) Close() error                          { return nil }
func (w fakeWatch) Wait(ctx context.Context) (mountfs.Device, error) {
	for {
		d, err := w.h.Find(w.ref)
		if err == nil {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return d, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (h *fakeHost) Preread(_ context.Context, d mountfs.Device) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.preread = append(h.preread, d.Node)
	return nil
}

type fakeDisk struct {
	h *fakeHost
	v *fakeVolume
}

func (h *fakeHost) OpenDisk(d mountfs.Device) (Disk, error) {
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	v := h.cloud.volumes[fmt.Sprintf("vol-%017x", d.Minor)]
	return fakeDisk{h, v}, nil
}

func (d fakeDisk) Probe(string) (mountfs.Contents, error) { return d.v.contents, nil }
func (d fakeDisk) Close() error                           { return nil }
func (d fakeDisk) Format(_ context.Context, f mountfs.Format) error {
	if d.h.killInFormat {
		d.v.contents = mountfs.Contents{Kind: mountfs.Unfinished, What: "half an XFS"}
		d.h.cloud.kill()
		return errKilled
	}
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	d.h.formatted = append(d.h.formatted, d.v.ID)
	d.v.contents = mountfs.Contents{Kind: mountfs.XFS, XFS: &mountfs.Superblock{UUID: f.UUID, Label: f.Label}}
	return nil
}

func (h *fakeHost) MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error) {
	if h.cloud.isDead() {
		return mountfs.XFSMount{}, errKilled
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, already := h.mounts[target]
	h.mounts[target] = d.Minor
	if !already {
		h.options[target] = strings.Join(options, ",")
	}
	return mountfs.XFSMount{Already: already}, nil
}

func (h *fakeHost) Grow(_ string, size int64) (int64, int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.grownTo = size
	return size, size, nil
}

func (h *fakeHost) Bind(mountpoint, dir, target string, create bool) (bool, error) {
	if h.cloud.isDead() {
		return false, errKilled
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if create {
		h.made = append(h.made, mountpoint+"/"+dir)
	}
	if _, already := h.mounts[target]; already {
		return true, nil
	}
	h.mounts[target], h.roots[target], h.options[target] = h.mounts[mountpoint], "/"+dir, h.options[mountpoint]
	return false, nil
}

func (h *fakeHost) Remount(target string, options []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.remountErr[target]; err != nil {
		return err
	}
	h.options[target] = strings.Join(options, ",")
	return nil
}

func (h *fakeHost) CheckWritable() error { return h.runErr }

func (h *fakeHost) CheckOptions(options []string) error {
	if slices.Contains(options, "nosuch") {
		return fmt.Errorf("%w: nosuch", mountfs.ErrOption)
	}
	return nil
}

func (h *fakeHost) Unmount(target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.unmountErr[target]; err != nil {
		return err
	}
	delete(h.mounts, target)
	return nil
}

func (h *fakeHost) CheckBind(mountpoint, _, target string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	minor, ok := h.mounts[target]
	return ok && minor == h.mounts[mountpoint], nil
}

func (h *fakeHost) CheckNotFrozen(string) error {
	if h.frozen || h.freezeErr != nil {
		return mountfs.ErrBusy
	}
	return nil
}

func (h *fakeHost) Users(context.Context, mountfs.Device) ([]string, error) { return h.users, nil }

func (h *fakeHost) Holders(d mountfs.Device) ([]string, error) { return h.holders[d.Minor], nil }

func (h *fakeHost) MkfsPath() (string, error) {
	if h.noMkfs {
		return "", mountfs.ErrNoMkfs
	}
	return "/sbin/mkfs.xfs", nil
}

func (h *fakeHost) Revision(string) string { return h.revision }

func (h *fakeHost) RecordHotSet(_ context.Context, mountpoint string) (hotset.Summary, error) {
	h.cloud.calls = append(h.cloud.calls, "hot "+mountpoint)
	return h.hot, h.hotErr
}

func (h *fakeHost) Flush(mountpoint string) error {
	h.cloud.calls = append(h.cloud.calls, "flush "+mountpoint)
	return nil
}

// Freeze gives a freeze that comes to an end by itself after limit.
func (h *fakeHost) Freeze(mountpoint string, limit time.Duration, lost func()) (deploy.Frozen, error) {
	if h.freezeErr != nil {
		return nil, h.freezeErr
	}
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	h.cloud.calls = append(h.cloud.calls, "freeze "+mountpoint)
	h.frozen = true
	f := &fakeFrozen{h: h, since: time.Now()}
	f.guard = time.AfterFunc(min(limit, cmp.Or(h.guardDies, limit)), func() {
		h.cloud.mu.Lock()
		h.frozen = false
		h.cloud.mu.Unlock()
		lost()
	})
	return f, nil
}

func (h *fakeHost) isFrozen() bool {
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	return h.frozen
}

type fakeFrozen struct {
	h     *fakeHost
	since time.Time
	guard *time.Timer
}

func (f *fakeFrozen) Thaw() (time.Duration, error) {
	f.guard.Stop()
	f.h.cloud.mu.Lock()
	defer f.h.cloud.mu.Unlock()
	f.h.cloud.calls = append(f.h.cloud.calls, "thaw")
	if !f.h.frozen {
		return time.Since(f.since), mountfs.ErrThawed
	}
	f.h.frozen = false
	return time.Since(f.since), nil
}

func (h *fakeHost) LoadRecord(source string) (record.Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.records[source]
	if !ok {
		return r, fs.ErrNotExist
	}
	return r, nil
}

func (h *fakeHost) Records() []record.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.records))
}

func (h *fakeHost) mountCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.mounts)
}

func (h *fakeHost) SaveRecord(r record.Record) error {
	if h.cloud.isDead() {
		return errKilled
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records[r.Source] = r
	return nil
}

func (h *fakeHost) DropRecord(source string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.records, source)
	return nil
}

func (h *fakeHost) LoadWarming(string) (record.Warming, error) { return h.warming, nil }

func (h *fakeHost) WarmingRuns(string) bool { return h.warmingRuns }

func (h *fakeHost) EndWarming(context.Context, string) error {
	h.warmingRuns = false
	return nil
}
