package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// The instance of all these tests.
var theInstance = ec2ops.Identity{
	InstanceID: "i-0123456789abcdef0", InstanceType: "m5.large", AccountID: "123456789012",
	Region: "us-west-2", Zone: "us-west-2c",
}

// errKilled is what a call gives when the process dies at it.
var errKilled = errors.New("killed")

// fakeCloud is EC2 for one instance, in memory. Its volumes take as long as
// createTakes and attachTakes say, by the (virtual) clock.
type fakeCloud struct {
	mu           sync.Mutex
	host         *fakeHost
	volumes      map[string]*fakeVolume
	snapshots    []ec2ops.Snapshot
	tokens       map[string]string // token → volume id
	params       map[string]string // token → what was asked for
	instanceTags map[string]string
	others       []string // further instances that exist
	names        []string // device names that are taken by others
	createTakes  time.Duration
	attachTakes  time.Duration
	identifyErr  error

	snapshotTakes time.Duration
	snapshotFails bool // CreateSnapshot has no effect
	answerLost    bool // CreateSnapshot's answer does not arrive
	deaf          bool // CreateSnapshot goes on when it is cancelled

	calls  []string                // "CreateVolume vol-1"
	fail   func(call string) error // gives the error of a call that has no effect
	killAt int                     // the process dies at this call (1, 2, …); 0 never
	after  bool                    // … after the call had its effect
	dead   bool
}

type fakeVolume struct {
	ec2ops.Volume
	available time.Time // when it is no longer creating
	attached  time.Time // when it is no longer attaching
	contents  mountfs.Contents
	invisible time.Time // until then it is missing from lists
}

// call counts a call, and lets it fail or kill.
func (c *fakeCloud) call(ctx context.Context, name string, effect func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errKilled
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.calls = append(c.calls, name)
	n := len(c.calls)
	if n == c.killAt && !c.after {
		c.dead = true
		return errKilled
	}
	if c.fail != nil {
		if err := c.fail(name); err != nil {
			return err
		}
	}
	err := effect()
	if n == c.killAt && c.after {
		c.dead = true
		return errKilled
	}
	return err
}

func (c *fakeCloud) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *fakeCloud) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *fakeCloud) Identify(_ context.Context, _ func(string)) (ec2ops.Identity, error) {
	if c.isDead() {
		return ec2ops.Identity{}, errKilled
	}
	return theInstance, c.identifyErr
}

func (c *fakeCloud) Snapshots(ctx context.Context, _ string) (all []ec2ops.Snapshot, err error) {
	err = c.call(ctx, "DescribeSnapshots", func() error { all = c.snapshots; return nil })
	return all, err
}

func (c *fakeCloud) SnapshotsTagged(ctx context.Context, key, value string) (all []ec2ops.Snapshot, err error) {
	err = c.call(ctx, "DescribeSnapshots", func() error {
		for _, s := range c.snapshots {
			if s.Tags[key] == value {
				all = append(all, s)
			}
		}
		return nil
	})
	return all, err
}

func (c *fakeCloud) SnapshotsWithin(ctx context.Context, key, value string, d time.Duration) ([]ec2ops.Snapshot, error) {
	for until := time.Now().Add(d); ; time.Sleep(time.Second) {
		all, err := c.SnapshotsTagged(ctx, key, value)
		if err != nil || len(all) > 0 || !time.Now().Before(until) {
			return all, err
		}
	}
}

// CreateSnapshot takes snapshotTakes; the snapshot is there from its beginning.
func (c *fakeCloud) CreateSnapshot(ctx context.Context, s ec2ops.SnapshotSpec) (snap ec2ops.Snapshot, err error) {
	err = c.call(ctx, "CreateSnapshot "+s.VolumeID, func() error {
		snap = ec2ops.Snapshot{ID: fmt.Sprintf("snap-%017x", len(c.snapshots)+1), State: ec2ops.SnapshotPending, Progress: "0%",
			Tier: "standard", OwnerID: theInstance.AccountID, Start: time.Now(), SizeGiB: c.volumes[s.VolumeID].SizeGiB, Tags: maps.Clone(s.Tags)}
		if !c.snapshotFails {
			c.snapshots = append(c.snapshots, snap)
		}
		return nil
	})
	if err != nil {
		return ec2ops.Snapshot{}, err
	}
	cancelled := ctx.Done()
	if c.deaf {
		cancelled = nil
	}
	select {
	case <-cancelled:
		err = context.Cause(ctx)
	case <-time.After(c.snapshotTakes):
		if c.answerLost {
			err = errors.New("connection reset")
		}
	}
	if err != nil {
		return ec2ops.Snapshot{}, fmt.Errorf("%w: %w", ec2ops.ErrOutcomeUnknown,
			&ec2ops.APIError{Action: "ec2:CreateSnapshot", Kind: ec2ops.ErrTemporary, Err: err})
	}
	return snap, nil
}

func (c *fakeCloud) WaitSnapshot(ctx context.Context, id string, seen func(ec2ops.Snapshot)) (snap ec2ops.Snapshot, err error) {
	for _, progress := range []string{"", "0%", "50%", "50%", "100%"} {
		err = c.call(ctx, "DescribeSnapshots "+id, func() error {
			i := slices.IndexFunc(c.snapshots, func(s ec2ops.Snapshot) bool { return s.ID == id })
			if progress == "100%" {
				c.snapshots[i].State = ec2ops.SnapshotCompleted
			}
			c.snapshots[i].Progress = progress
			snap = c.snapshots[i]
			return nil
		})
		if err != nil {
			return snap, err
		}
		seen(snap)
		time.Sleep(time.Second)
	}
	return snap, nil
}

func (c *fakeCloud) DeleteSnapshot(ctx context.Context, id string) error {
	return c.call(ctx, "DeleteSnapshot "+id, func() error {
		c.snapshots = slices.DeleteFunc(c.snapshots, func(s ec2ops.Snapshot) bool { return s.ID == id })
		return nil
	})
}

func (c *fakeCloud) VolumesOf(ctx context.Context, source string) (all []ec2ops.Volume, err error) {
	err = c.call(ctx, "DescribeVolumes", func() error {
		for _, v := range c.volumes {
			if v.Tags[ec2ops.TagSource] == source {
				all = append(all, c.now(v))
			}
		}
		return nil
	})
	return all, err
}

func (c *fakeCloud) Alive(ctx context.Context, ids []string) (map[string]bool, error) {
	alive := map[string]bool{}
	err := c.call(ctx, "DescribeInstances", func() error {
		for _, id := range ids {
			if id == theInstance.InstanceID || slices.Contains(c.others, id) {
				alive[id] = true
			}
		}
		return nil
	})
	return alive, err
}

func (c *fakeCloud) Volumes(ctx context.Context, instanceID, source string) (all []ec2ops.Volume, err error) {
	err = c.call(ctx, "DescribeVolumes", func() error {
		for _, v := range c.volumes {
			if v.Tags[ec2ops.TagInstance] == instanceID && v.Tags[ec2ops.TagSource] == source && !time.Now().Before(v.invisible) {
				all = append(all, c.now(v))
			}
		}
		return nil
	})
	return all, err
}

func (c *fakeCloud) VolumesWithin(ctx context.Context, instanceID, source string, d time.Duration) ([]ec2ops.Volume, error) {
	for until := time.Now().Add(d); ; time.Sleep(time.Second) {
		all, err := c.Volumes(ctx, instanceID, source)
		if err != nil || len(all) > 0 || !time.Now().Before(until) {
			return all, err
		}
	}
}

// now gives a volume's state by the clock.
func (c *fakeCloud) now(v *fakeVolume) ec2ops.Volume {
	out := v.Volume
	if out.State == ec2ops.VolumeCreating && !time.Now().Before(v.available) {
		v.State, out.State = ec2ops.VolumeAvailable, ec2ops.VolumeAvailable
	}
	out.Attachments = slices.Clone(v.Attachments)
	for i := range out.Attachments {
		if out.Attachments[i].State == ec2ops.Attaching && !time.Now().Before(v.attached) {
			v.Attachments[i].State, out.Attachments[i].State = ec2ops.Attached, ec2ops.Attached
		}
	}
	return out
}

func (c *fakeCloud) Volume(ctx context.Context, id string) (out ec2ops.Volume, err error) {
	err = c.call(ctx, "DescribeVolumes "+id, func() error {
		v, ok := c.volumes[id]
		if !ok {
			return &ec2ops.APIError{Action: "ec2:DescribeVolumes", Resource: id, Kind: ec2ops.ErrNotFound, Err: ec2ops.ErrNotFound}
		}
		out = c.now(v)
		return nil
	})
	return out, err
}

func (c *fakeCloud) WaitVolume(ctx context.Context, id string, done func(ec2ops.Volume) (bool, error), seen func(ec2ops.Volume)) (ec2ops.Volume, error) {
	last := "not seen yet"
	for {
		v, err := c.Volume(ctx, id)
		if ctx.Err() != nil {
			return v, fmt.Errorf("wait for %s (%s): %w", id, last, context.Cause(ctx))
		}
		if err != nil {
			return v, err
		}
		last = v.String()
		if seen != nil {
			seen(v)
		}
		if ok, err := done(v); ok || err != nil {
			return v, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *fakeCloud) CreateVolume(ctx context.Context, s ec2ops.VolumeSpec) (out ec2ops.Volume, err error) {
	err = c.call(ctx, "CreateVolume", func() error {
		asked := fmt.Sprint(s.SnapshotID, s.SizeGiB, s.Type)
		if id, used := c.tokens[s.Token]; used {
			if c.params[s.Token] != asked {
				return &ec2ops.APIError{Action: "ec2:CreateVolume", Code: "IdempotentParameterMismatch", Kind: ec2ops.ErrTokenMismatch, Err: ec2ops.ErrTokenMismatch}
			}
			if v, ok := c.volumes[id]; ok {
				out = c.now(v)
			} else {
				out = ec2ops.Volume{ID: id, State: ec2ops.VolumeDeleted}
			}
			return nil
		}
		v := &fakeVolume{available: time.Now().Add(c.createTakes)}
		v.Volume = ec2ops.Volume{
			ID: fmt.Sprintf("vol-%017x", len(c.tokens)+1), State: ec2ops.VolumeCreating, Zone: s.Zone,
			SnapshotID: s.SnapshotID, SizeGiB: s.SizeGiB, Type: s.Type, Created: time.Now(), Tags: s.Tags,
		}
		v.contents = mountfs.Contents{Kind: mountfs.Blank}
		if s.SnapshotID != "" {
			v.contents = c.host.snapshotContents
		}
		c.volumes[v.ID] = v
		c.tokens[s.Token], c.params[s.Token] = v.ID, asked
		out = v.Volume
		return nil
	})
	return out, err
}

func (c *fakeCloud) DeleteVolume(ctx context.Context, id string) error {
	return c.call(ctx, "DeleteVolume "+id, func() error { delete(c.volumes, id); return nil })
}

func (c *fakeCloud) Attach(ctx context.Context, id, instanceID, device string, _ func(string)) error {
	return c.call(ctx, "AttachVolume "+id+" "+device, func() error {
		v := c.volumes[id]
		switch {
		case slices.Contains(c.names, device):
			return &ec2ops.APIError{Action: "ec2:AttachVolume", Code: "InvalidParameterValue", Kind: ec2ops.ErrDeviceNameTaken, Err: ec2ops.ErrDeviceNameTaken}
		case len(v.Attachments) > 0:
			return &ec2ops.APIError{Action: "ec2:AttachVolume", Code: "VolumeInUse", Kind: ec2ops.ErrVolumeInUse, Err: ec2ops.ErrVolumeInUse}
		}
		v.State = ec2ops.VolumeInUse
		v.Attachments = []ec2ops.Attachment{{InstanceID: instanceID, Device: device, State: ec2ops.Attaching}}
		v.attached = time.Now().Add(c.attachTakes)
		return nil
	})
}

func (c *fakeCloud) Detach(ctx context.Context, id, _ string) error {
	return c.call(ctx, "DetachVolume "+id, func() error {
		c.volumes[id].State, c.volumes[id].Attachments = ec2ops.VolumeAvailable, nil
		return nil
	})
}

func (c *fakeCloud) DeleteOnTermination(ctx context.Context, _, _, id string) error {
	return c.call(ctx, "ModifyInstanceAttribute "+id, func() error {
		c.volumes[id].Attachments[0].DeleteOnTermination = true
		return nil
	})
}

func (c *fakeCloud) Instance(ctx context.Context, id string) (out ec2ops.Instance, err error) {
	err = c.call(ctx, "DescribeInstances", func() error {
		out = ec2ops.Instance{ID: id, State: "running", DeviceNames: c.names, Tags: maps.Clone(c.instanceTags)}
		return nil
	})
	return out, err
}

// tagsOf gives the tags of a resource for a change.
func (c *fakeCloud) tagsOf(id string) map[string]string {
	if v, ok := c.volumes[id]; ok {
		return v.Tags
	}
	for _, s := range c.snapshots {
		if s.ID == id {
			return s.Tags
		}
	}
	return c.instanceTags
}

func (c *fakeCloud) Tag(ctx context.Context, id string, tags map[string]string) error {
	return c.call(ctx, "CreateTags "+id, func() error {
		maps.Copy(c.tagsOf(id), tags)
		return nil
	})
}

func (c *fakeCloud) Untag(ctx context.Context, id string, keys []string) error {
	return c.call(ctx, "DeleteTags "+id, func() error {
		for _, k := range keys {
			delete(c.tagsOf(id), k)
		}
		return nil
	})
}

// live lists the volumes that exist.
func (c *fakeCloud) live() []*fakeVolume {
	var all []*fakeVolume
	for _, v := range c.volumes {
		all = append(all, v)
	}
	return all
}

// fakeHost is a kernel in memory: a device shows when its volume is attached.
type fakeHost struct {
	cloud            *fakeCloud
	mounts           map[string]uint32 // target → minor of the device; binds too
	targets          map[string]mountfs.Target
	records          map[string]Record
	snapshotContents mountfs.Contents
	deviceSize       int64 // 0: the volume's
	noMkfs           bool
	noDevice         bool
	formatted        []string
	made             []string // directories that binds made
	lockErr          error
	unmountErr       map[string]error
	killInFormat     bool
	revision         string
	freezeErr        error
	frozen           bool
	guardDies        time.Duration // after the freeze; 0: it does not
}

func (h *fakeHost) Lock(context.Context, func()) (func() error, error) {
	return func() error { return nil }, h.lockErr
}

func (h *fakeHost) Mounts() ([]mountfs.Mount, error) {
	var all []mountfs.Mount
	for target, minor := range h.mounts {
		all = append(all, mountfs.Mount{Target: target, Root: "/", FSType: "xfs", Major: 259, Minor: minor})
	}
	return all, nil
}

func (h *fakeHost) LookTarget(path string) (mountfs.Target, error) {
	if t, ok := h.targets[path]; ok {
		t.Path = path
		return t, nil
	}
	if minor, ok := h.mounts[path]; ok {
		return mountfs.Target{Path: path, State: mountfs.Mounted, Mount: mountfs.Mount{Major: 259, Minor: minor, FSType: "xfs"}}, nil
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
	return mountfs.Device{Node: fmt.Sprintf("/dev/nvme%dn1", minor), Major: 259, Minor: minor, Size: size}, nil
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

type fakeDisk struct {
	h *fakeHost
	v *fakeVolume
}

func (h *fakeHost) OpenDisk(d mountfs.Device) (Disk, error) {
	v := h.cloud.volumes[fmt.Sprintf("vol-%017x", d.Minor)]
	return fakeDisk{h, v}, nil
}

func (d fakeDisk) Probe(string) (mountfs.Contents, error) { return d.v.contents, nil }
func (d fakeDisk) Close() error                           { return nil }
func (d fakeDisk) Format(_ context.Context, f mountfs.Format) error {
	if d.h.killInFormat {
		d.v.contents = mountfs.Contents{Kind: mountfs.HalfMade, What: "half an XFS"}
		d.h.cloud.kill()
		return errKilled
	}
	d.h.formatted = append(d.h.formatted, d.v.ID)
	d.v.contents = mountfs.Contents{Kind: mountfs.XFS, XFS: &mountfs.Superblock{UUID: f.UUID, Label: f.Label}}
	return nil
}

func (h *fakeHost) MountXFS(d mountfs.Device, target string, _ []string) (mountfs.XFSMount, error) {
	if h.cloud.isDead() {
		return mountfs.XFSMount{}, errKilled
	}
	_, already := h.mounts[target]
	h.mounts[target] = d.Minor
	return mountfs.XFSMount{Already: already}, nil
}

func (h *fakeHost) Grow(_ string, size int64) (int64, int64, error) { return size, size, nil }

func (h *fakeHost) Bind(mountpoint, dir, target string, create bool) (bool, error) {
	if h.cloud.isDead() {
		return false, errKilled
	}
	if create {
		h.made = append(h.made, mountpoint+"/"+dir)
	}
	h.mounts[target] = h.mounts[mountpoint]
	return false, nil
}

func (h *fakeHost) Unmount(target string) error {
	if err := h.unmountErr[target]; err != nil {
		return err
	}
	delete(h.mounts, target)
	return nil
}

func (h *fakeHost) CheckBind(mountpoint, _, target string) (bool, error) {
	minor, ok := h.mounts[target]
	return ok && minor == h.mounts[mountpoint], nil
}

func (h *fakeHost) MkfsPath() (string, error) {
	if h.noMkfs {
		return "", mountfs.ErrNoMkfs
	}
	return "/sbin/mkfs.xfs", nil
}

func (h *fakeHost) Revision(string) string { return h.revision }

func (h *fakeHost) Flush(mountpoint string) error {
	h.cloud.calls = append(h.cloud.calls, "flush "+mountpoint)
	return nil
}

// Freeze gives a freeze that comes to an end by itself after limit.
func (h *fakeHost) Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error) {
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

func (h *fakeHost) LoadRecord(source string) (Record, error) {
	r, ok := h.records[source]
	if !ok {
		return r, errors.New("no record")
	}
	return r, nil
}

func (h *fakeHost) SaveRecord(r Record) error {
	if h.cloud.isDead() {
		return errKilled
	}
	h.records[r.Source] = r
	return nil
}

func (h *fakeHost) DropRecord(source string) error { delete(h.records, source); return nil }

// world is a cloud, a host and an agent between them.
type world struct {
	cloud  *fakeCloud
	host   *fakeHost
	agent  *Agent
	events []Event
}

func newWorld() *world {
	w := &world{
		cloud: &fakeCloud{instanceTags: map[string]string{}, volumes: map[string]*fakeVolume{}, tokens: map[string]string{}, params: map[string]string{},
			createTakes: 1500 * time.Millisecond, attachTakes: time.Second},
		host: &fakeHost{mounts: map[string]uint32{}, targets: map[string]mountfs.Target{}, records: map[string]Record{}},
	}
	w.cloud.host, w.host.cloud = w.host, w.cloud
	w.host.snapshotContents = mountfs.Contents{Kind: mountfs.XFS, XFS: &mountfs.Superblock{Label: "codepen-app", UUID: "a-foreign-uuid"}}
	w.agent = &Agent{Cloud: w.cloud, Host: w.host, Events: func(e Event) { w.events = append(w.events, e) }}
	return w
}

// withRelease is a world with one eligible snapshot.
func withRelease() *world {
	w := newWorld()
	w.cloud.snapshots = []ec2ops.Snapshot{release("snap-1", 1)}
	return w
}

// release is an eligible snapshot that began at the given hour.
func release(id string, hour int) ec2ops.Snapshot {
	return ec2ops.Snapshot{
		ID: id, State: ec2ops.SnapshotCompleted, Tier: "standard", OwnerID: theInstance.AccountID, SizeGiB: 5,
		Start: time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC), Tags: map[string]string{ec2ops.TagName: "codepen-app"},
	}
}

// reboot is what a reboot does: mounts and /run are lost, attachments stay.
func (w *world) reboot() {
	w.host.mounts = map[string]uint32{}
	w.host.records = map[string]Record{}
}

// restart is a new process after a kill; what the kernel holds stays.
func (w *world) restart() {
	w.cloud.dead, w.cloud.killAt, w.cloud.calls, w.cloud.fail, w.events = false, 0, nil, nil, nil
	w.host.killInFormat = false
}
