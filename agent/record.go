package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"snapsource/mountfs"
)

// Record is what a finished run leaves under /run/snapsource for the next one and
// for status. It is a hint: [boot.stillReady] checks it against the kernel.
type Record struct {
	Source   string    `json:"source"`
	Wanted   string    `json:"wanted"`             // digest of the source's configuration that it fulfils
	Roles    string    `json:"roles"`              // digest of the roles that were announced
	Hook     string    `json:"hook,omitempty"`     // the lifecycle hook that is over
	NoGroup  string    `json:"no_group,omitempty"` // the hook that the instance, in no group, does not have
	Instance string    `json:"instance"`
	Zone     string    `json:"zone"`
	Volume   string    `json:"volume"`
	Snapshot string    `json:"snapshot,omitempty"`
	Device   string    `json:"device"` // EC2's device name
	Node     string    `json:"node"`
	Major    uint32    `json:"major"`
	Minor    uint32    `json:"minor"`
	Size     int64     `json:"size"` // of the volume, in bytes
	Ready    time.Time `json:"ready"`
}

// digest identifies what is wanted (a [Source], the [Roles]), so that a changed
// configuration is not taken for fulfilled.
func digest(wanted any) string {
	text, err := json.Marshal(wanted)
	if err != nil {
		panic("the configuration can't be written as JSON: " + err.Error()) // strings and numbers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// stillReady says whether an earlier run's work is all still there, by asking the
// kernel only: the device is the volume's, it is mounted, every bind shows it.
func (b *boot) stillReady() (Record, bool) {
	r, err := b.agent.Host.LoadRecord(b.src.Name)
	if err != nil || r.Wanted != digest(b.src) {
		return Record{}, false
	}
	dev, err := b.agent.Host.Find(mountfs.Volume{ID: r.Volume, Name: r.Device, Size: r.Size})
	if err != nil || dev.Major != r.Major || dev.Minor != r.Minor {
		return Record{}, false
	}
	mounts, err := b.agent.Host.Mounts()
	if err != nil || !mountedAt(mounts, b.src.Mount, dev) {
		return Record{}, false
	}
	for _, bind := range b.src.Binds {
		if ok, err := b.agent.Host.CheckBind(b.src.Mount, bind.Dir, bind.Target); err != nil || !ok {
			return Record{}, false
		}
	}
	return r, true
}

// nothingToDo is [boot.stillReady], and the roles that are wanted were announced, and the
// instance was let in.
func (b *boot) nothingToDo(ctx context.Context) (Record, bool) {
	r, ok := b.stillReady()
	return r, ok && (b.cfg.Roles.None() || r.Roles == digest(b.cfg.Roles)) && b.hookIsOver(ctx, r)
}

// mountedAt says whether the topmost mount at target is the device's file system
// itself, not a bind of a part of it.
func mountedAt(mounts []mountfs.Mount, target string, dev mountfs.Device) bool {
	m, ok := mountfs.MountAt(mounts, target)
	return ok && m.Major == dev.Major && m.Minor == dev.Minor && m.Root == "/" && m.FSType == "xfs"
}
