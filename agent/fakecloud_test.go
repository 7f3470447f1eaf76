package agent

import (
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
	metadataTags bool     // the metadata service shows them
	others       []string // further instances that exist
	names        []string // device names that are taken by others
	createTakes  time.Duration
	attachTakes  time.Duration
	identifyErr  error
	launched     ec2ops.LaunchDevices // in the metadata service
	launchTime   time.Time
	noMapping    bool   // which does not show them
	hidden       string // a snapshot that is missing from lists until shownAt
	shownAt      time.Time
	group        fakeGroup

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
	self := theInstance
	if !c.launchTime.IsZero() {
		self.Launched = c.launchTime
	}
	return self, c.identifyErr
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

func (c *fakeCloud) Volumes(ctx context.Context, instanceID string, sources ...string) (all []ec2ops.Volume, err error) {
	err = c.call(ctx, "DescribeVolumes", func() error {
		for _, v := range c.volumes {
			if v.Tags[ec2ops.TagInstance] == instanceID && slices.Contains(sources, v.Tags[ec2ops.TagSource]) && !time.Now().Before(v.invisible) {
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

func (c *fakeCloud) WaitVolume(ctx context.Context, id string, _ ec2ops.PollSchedule, done func(ec2ops.Volume) (bool, error), onPoll func(ec2ops.Volume)) (ec2ops.Volume, error) {
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
		if onPoll != nil {
			onPoll(v)
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
				out.Age = time.Since(v.Created)
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

func (c *fakeCloud) Launches(ctx context.Context, _ string, _, _ time.Time, _ string) (list []ec2ops.Launch, whole bool, err error) {
	err = c.call(ctx, "DescribeInstances", func() error { list = []ec2ops.Launch{{ID: theInstance.InstanceID}}; return nil })
	return list, true, err
}

func (c *fakeCloud) Instance(ctx context.Context, id string) (out ec2ops.Instance, err error) {
	err = c.call(ctx, "DescribeInstances", func() error {
		out = ec2ops.Instance{ID: id, State: "running", DeviceNames: c.names, Tags: maps.Clone(c.instanceTags)}
		return nil
	})
	return out, err
}

func (c *fakeCloud) OwnTags(context.Context, []string) (map[string]string, bool) {
	return maps.Clone(c.instanceTags), c.metadataTags
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

func (c *fakeCloud) Untag(ctx context.Context, id string, remove map[string]string) error {
	return c.call(ctx, "DeleteTags "+id, func() error {
		for k, v := range remove {
			if tags := c.tagsOf(id); v == "" || tags[k] == v {
				delete(tags, k)
			}
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
