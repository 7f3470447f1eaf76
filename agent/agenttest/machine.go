package agenttest

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"snapsource/agent"
	"snapsource/agent/deploy"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
	"snapsource/mountfs"
)

// Machine is an instance: its endpoints, and its kernel in memory. It implements
// [Host]. A device exists from when its attachment is plugged until its detachment was
// requested and nothing uses it.
type Machine struct {
	*ec2test.Host
	// VendorBytes says that the NVMe controllers report EC2's device names, as on Nitro instances.
	VendorBytes bool

	cloud *Cloud
	lock  chan struct{} // the host's one lock, free while it holds an element

	mu      sync.Mutex
	mounts  []mountfs.Mount
	volumes []string // by minor number, from 1
	records map[string]record.Record
	events  []report.Event

	processes int // started so far
}

var _ Host = (*Machine)(nil)

// boot resets the kernel's state.
func (m *Machine) boot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lock = make(chan struct{}, 1)
	m.lock <- struct{}{}
	m.mounts, m.volumes, m.records = nil, nil, map[string]record.Record{}
}

// Reboot removes the mounts and /run; attachments stay.
func (m *Machine) Reboot() {
	mounts, _ := m.Mounts() // never fails
	for _, mount := range mounts {
		m.cloud.Disks.change(m.volumeOf(mount.Minor), func(k *disk) { k.frozen = false })
		m.removeMount(mount)
	}
	m.boot()
}

// Agent starts a process with its own client.
func (m *Machine) Agent() *Program {
	m.mu.Lock()
	m.processes++
	name := fnv.New64a()
	fmt.Fprint(name, m.ID, m.processes)
	m.mu.Unlock()
	client, err := ec2ops.New(context.Background(), ec2ops.Options{UserAgent: "agenttest", Dial: m.Dial, Seed: name.Sum64()})
	if err != nil {
		m.cloud.t.Fatal(err)
	}
	return m.program(client, m)
}

func (m *Machine) program(client *ec2ops.Client, h Host) *Program {
	events := func(e report.Event) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.events = append(m.events, e)
	}
	return &Program{
		Agent:  &agent.Agent{Cloud: agent.NewCloud(client), Host: HostOf(h), Events: events},
		Deploy: &deploy.Deploy{Cloud: client, Releases: client, Publish: client, Templates: client, Host: h, Events: events},
		Client: client,
	}
}

// Events returns the events of all processes of the machine.
func (m *Machine) Events() []report.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// MountedAt names the volume that is mounted at a path, "" for none.
func (m *Machine) MountedAt(path string) string {
	mounts, _ := m.Mounts() // never fails
	if mount, ok := mountfs.MountAt(mounts, path); ok {
		return m.volumeOf(mount.Minor)
	}
	return ""
}

// Lock implements [Host].
func (m *Machine) Lock(ctx context.Context, waiting func()) (unlock func() error, err error) {
	unlock = func() error { m.lock <- struct{}{}; return nil }
	select {
	case <-m.lock:
		return unlock, nil
	default:
		waiting()
	}
	select {
	case <-m.lock:
		return unlock, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// nvme is the major number of the kernel's "blkext" devices, which NVMe's are.
const nvme = 259

// minor numbers a volume's device, in the order in which they were first seen.
func (m *Machine) minor(volumeID string) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.volumes, volumeID) {
		m.volumes = append(m.volumes, volumeID)
	}
	return uint32(slices.Index(m.volumes, volumeID) + 1)
}

func (m *Machine) volumeOf(minor uint32) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.volumes[minor-1]
}

// Find implements [Host].
func (m *Machine) Find(ref mountfs.Volume) (mountfs.Device, error) {
	v, found := m.cloud.volume(ref.ID)
	if !found || !m.shows(v) {
		return mountfs.Device{}, fmt.Errorf("%s: %w", ref.ID, mountfs.ErrNoDevice)
	}
	return m.device(v), nil
}

// shows says whether the machine has a volume's device.
func (m *Machine) shows(v ec2test.Volume) bool {
	a, now := v.Attachment, time.Now()
	return v.State(now) != "" && a != nil && a.InstanceID == m.ID && !now.Before(a.Plugged) && (a.DetachAsked.IsZero() || a.Busy)
}

func (m *Machine) device(v ec2test.Volume) mountfs.Device {
	minor := m.minor(v.ID)
	return mountfs.Device{
		Node: fmt.Sprintf("/dev/nvme%dn1", minor), Major: nvme, Minor: minor, Size: v.Size * ec2ops.GiB, By: "serial",
	}
}

// VolumeDevices lists what Find finds, the root volume included, sorted by EC2's device name.
func (m *Machine) VolumeDevices() (found []mountfs.VolumeDevice, err error) {
	volumes, err := m.cloud.Server.VolumesOf(context.Background(), m.ID)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if !m.shows(v) {
			continue
		}
		shown := mountfs.VolumeDevice{Volume: v.ID, Device: m.device(v)}
		if m.VendorBytes {
			shown.Name = "/dev/" + strings.TrimPrefix(v.Attachment.Device, "/dev/")
			shown.AtLaunch = v.Attachment.Asked.Equal(v.Created) // else it was created before the attachment
		}
		found = append(found, shown)
	}
	return found, nil
}

// Watch implements [Host].
func (m *Machine) Watch(v mountfs.Volume) (agent.Watch, error) { return watch{m, v}, nil }

type watch struct {
	m   *Machine
	ref mountfs.Volume
}

// devicePoll is the poll interval for a device: the control plane sends no events.
const devicePoll = 100 * time.Millisecond

func (w watch) Wait(ctx context.Context) (mountfs.Device, error) {
	for {
		d, err := w.m.Find(w.ref)
		if err == nil {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return d, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(devicePoll):
		}
	}
}

func (w watch) Close() error { return nil }

// OpenDisk implements [Host].
func (m *Machine) OpenDisk(d mountfs.Device) (agent.Disk, error) {
	return opened{m.cloud.Disks, m.volumeOf(d.Minor)}, nil
}

type opened struct {
	disks    *Disks
	volumeID string
}

func (o opened) Probe(string) (c mountfs.Contents, err error) {
	o.disks.change(o.volumeID, func(k *disk) { c = k.contents })
	return c, nil
}

func (o opened) Format(_ context.Context, f mountfs.Format) error {
	o.disks.change(o.volumeID, func(k *disk) {
		k.contents = mountfs.Contents{Kind: mountfs.XFS, What: "XFS", XFS: &mountfs.Superblock{UUID: f.UUID, Label: f.Label}}
	})
	return nil
}

func (o opened) Close() error { return nil }

// Preread implements [Host]. It does nothing: a volume in memory has no cold blocks.
func (m *Machine) Preread(context.Context, mountfs.Device) error { return nil }

// MkfsPath implements [Host].
func (m *Machine) MkfsPath() (string, error) { return "/sbin/mkfs.xfs", nil }

// Revision implements [Host].
func (m *Machine) Revision(string) string { return "" }

// CheckOptions implements [Host].
func (m *Machine) CheckOptions([]string) error { return nil }

// CheckWritable implements [Host].
func (m *Machine) CheckWritable() error { return nil }

// LoadRecord implements [Host].
func (m *Machine) LoadRecord(source string) (record.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[source]
	if !ok {
		return r, fs.ErrNotExist
	}
	return r, nil
}

// Records implements [Host].
func (m *Machine) Records() []record.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.records))
}

// SaveRecord implements [Host].
func (m *Machine) SaveRecord(r record.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[r.Source] = r
	return nil
}

// DropRecord implements [Host].
func (m *Machine) DropRecord(source string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, source)
	return nil
}

// LoadWarming implements [Host]. Nothing is known of a volume's blocks.
func (m *Machine) LoadWarming(string) (record.Warming, error) { return record.Warming{}, nil }

// WarmingRuns implements [Host].
func (m *Machine) WarmingRuns(string) bool { return false }

// EndWarming implements [Host].
func (m *Machine) EndWarming(context.Context, string) error { return nil }
