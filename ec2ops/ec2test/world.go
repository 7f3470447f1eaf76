package ec2test

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Tags are the tags of one resource.
type Tags map[string]string

// World is the control plane's state. It holds only data, so it can be stored as JSON.
// Records are never removed: deleted resources have a time of deletion.
type World struct {
	Instances map[string]*Instance
	Volumes   map[string]*Volume
	Snapshots map[string]*Snapshot
	Tokens    map[string]*Token // by zone or action, a slash and the client token
	Groups    map[string]*Group
	Templates map[string]*Template `json:",omitempty"` // by id
	Images    map[string]*Image    `json:",omitempty"` // by id
	Past      map[string]*Past     `json:",omitempty"` // by id: previous states that Describe still shows

	// Elsewhere is the state of other accounts and regions, by [Place]. The rest of the World is that
	// of the home of the [Server] that has made it.
	Elsewhere map[Place]*World `json:",omitempty"`

	others []*World // of other accounts in the same region
}

// newWorld returns an empty World.
func newWorld() *World {
	return (&World{}).filled()
}

// filled creates missing maps, as after reading an empty file.
func (w *World) filled() *World {
	if w.Instances == nil {
		w.Instances = map[string]*Instance{}
	}
	if w.Volumes == nil {
		w.Volumes = map[string]*Volume{}
	}
	if w.Snapshots == nil {
		w.Snapshots = map[string]*Snapshot{}
	}
	if w.Tokens == nil {
		w.Tokens = map[string]*Token{}
	}
	if w.Groups == nil {
		w.Groups = map[string]*Group{}
	}
	if w.Templates == nil {
		w.Templates = map[string]*Template{}
	}
	if w.Images == nil {
		w.Images = map[string]*Image{}
	}
	if w.Past == nil {
		w.Past = map[string]*Past{}
	}
	if w.Elsewhere == nil {
		w.Elsewhere = map[Place]*World{}
	}
	for _, other := range w.Elsewhere {
		other.filled()
	}
	return w
}

// clone returns a copy that shares nothing with w.
func (w *World) clone() World {
	c := newWorld()
	for id, i := range w.Instances {
		copied := *i
		copied.Tags, copied.Mapped = maps.Clone(i.Tags), slices.Clone(i.Mapped)
		c.Instances[id] = &copied
	}
	for id, v := range w.Volumes {
		copied := v.clone()
		c.Volumes[id] = &copied
	}
	for id, s := range w.Snapshots {
		copied := *s
		copied.Tags = maps.Clone(s.Tags)
		copied.SharedWith = slices.Clone(s.SharedWith)
		copied.TagsOf = cloneTags(s.TagsOf)
		copied.FastRestores = maps.Clone(s.FastRestores)
		c.Snapshots[id] = &copied
	}
	for key, t := range w.Tokens {
		copied := *t
		c.Tokens[key] = &copied
	}
	for name, g := range w.Groups {
		c.Groups[name] = g.clone()
	}
	for id, t := range w.Templates {
		c.Templates[id] = t.clone()
	}
	for id, i := range w.Images {
		c.Images[id] = i.clone()
	}
	c.Past = maps.Clone(w.Past)
	for place, other := range w.Elsewhere {
		copied := other.clone()
		c.Elsewhere[place] = &copied
	}
	return *c
}

// Token is a ClientToken that EC2 remembers.
type Token struct {
	VolumeID   string `json:",omitempty"` // of CreateVolume
	ResourceID string `json:",omitempty"` // of another action: what it made
	Request    string // its parameters, as one canonical string
	Used       time.Time
}

// Instance is a launched instance. The zero times mean "never".
type Instance struct {
	ID, Name     string
	Type, Image  string
	Zone         string
	PrivateIP    string
	UserData     string
	RootDevice   string
	Tags         Tags
	Launched     time.Time
	Running      time.Time // pending until then
	Stopped      time.Time // requested, and not started since
	Terminated   time.Time // asked for
	ShutDown     time.Time // shutting-down until then
	RootVolumeID string
	Reservation  string   `json:",omitempty"` // of RunInstances
	Mapped       []string `json:",omitempty"` // device names of the volumes that were attached at the launch or the last start, sorted
}

// State returns EC2's name for the state: pending, running, stopped, shutting-down or
// terminated.
func (i *Instance) State(now time.Time) string {
	switch {
	case reached(i.ShutDown, now):
		return "terminated"
	case !i.Terminated.IsZero():
		return "shutting-down"
	case reached(i.Stopped, now):
		return "stopped"
	case now.Before(i.Running):
		return "pending"
	}
	return "running"
}

// Volume is an EBS volume. Sizes are GiB.
type Volume struct {
	ID                 string
	Zone               string
	Type               string
	SnapshotID         string
	KMSKeyID           string
	Size               int64
	IOPS               int64
	Throughput         int64 // MiB/s
	InitializationRate int64 // MiB/s
	FastRestored       bool  // from a snapshot enabled for fast restores
	Encrypted          bool
	Root               bool // an instance's root volume: without data here
	Broken             bool // state error
	Failing            bool // state error after creating
	Doomed             bool // its creation fails after CreateVolume succeeded
	Tags               Tags
	Created            time.Time
	Available          time.Time // creating until then
	Visible            time.Time // Describe does not find it until then
	Modified           time.Time // by ModifyVolume, the last time
	Deleted            time.Time // asked for
	Gone               time.Time // deleting until then
	Attachment         *Attachment
}

func (v *Volume) clone() Volume {
	copied := *v
	copied.Tags = maps.Clone(v.Tags)
	if v.Attachment != nil {
		a := *v.Attachment
		copied.Attachment = &a
	}
	return copied
}

// State returns EC2's name for the state, and "" for a volume that is gone.
func (v *Volume) State(now time.Time) string {
	switch {
	case reached(v.Gone, now), v.Doomed && !now.Before(v.Available):
		return ""
	case !v.Deleted.IsZero():
		return "deleting"
	case v.Broken, v.Failing && !now.Before(v.Available):
		return "error"
	case now.Before(v.Available):
		return "creating"
	case v.attached(now) != nil:
		return "in-use"
	}
	return "available"
}

// attached returns the attachment that EC2 still shows, or nil.
func (v *Volume) attached(now time.Time) *Attachment {
	if v.Attachment == nil || v.Attachment.State(now) == "detached" {
		return nil
	}
	return v.Attachment
}

// Attachment is a volume's attachment to an instance.
type Attachment struct {
	InstanceID          string
	Device              string // as asked for, e.g. /dev/sdf
	DeleteOnTermination bool
	Asked               time.Time
	Plugged             time.Time // when the device appears
	Attached            time.Time // attaching until then
	DetachAsked         time.Time
	Busy                bool      // the kernel has not released the device yet
	Stuck               bool      // never detached
	Detached            time.Time // detaching until then
}

// name returns the device name without /dev/.
func (a *Attachment) name() string { return strings.TrimPrefix(a.Device, "/dev/") }

// State returns EC2's name for the state: attaching, attached, detaching, busy
// or detached.
func (a *Attachment) State(now time.Time) string {
	switch {
	case reached(a.Detached, now):
		return "detached"
	case a.Busy:
		return "busy"
	case !a.DetachAsked.IsZero():
		return "detaching"
	case now.Before(a.Attached):
		return "attaching"
	}
	return "attached"
}

// reached says whether a time has passed; a zero time never has.
func reached(at, now time.Time) bool {
	return !at.IsZero() && !now.Before(at)
}
