// Package record is what a finished run leaves under /run/snapsource for the next one and
// for status. A record is a hint: [Ready] checks it against the kernel.
package record

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"snapsource/agent/config"
	"snapsource/mountfs"
)

// Record is what a run has left for one source.
type Record struct {
	Source   string    `json:"source"`
	Wanted   string    `json:"wanted"`             // digest of the source's configuration that it fulfils
	Roles    string    `json:"roles"`              // digest of the roles that were announced
	Hook     string    `json:"hook,omitempty"`     // the launch hook that is completed
	NoGroup  string    `json:"no_group,omitempty"` // the hook that the instance, in no group, does not have
	Instance string    `json:"instance"`
	Zone     string    `json:"zone"`
	Volume   string    `json:"volume"`
	Snapshot string    `json:"snapshot,omitempty"`
	Device   string    `json:"device"` // EC2's device name
	Node     string    `json:"node"`
	Major    uint32    `json:"major"`
	Minor    uint32    `json:"minor"`
	Size     int64     `json:"size"`  // of the volume, in bytes
	Ready    time.Time `json:"ready"` // zero: a launch from this volume is not announced yet
}

// Wants is how the kernel finds the device of the record's volume.
func (r Record) Wants() mountfs.Volume {
	return mountfs.Volume{ID: r.Volume, Name: r.Device, Size: r.Size}
}

// Digest identifies what is wanted (a source, the roles), so that a changed configuration
// is not taken for fulfilled.
func Digest(wanted any) string {
	text, err := json.Marshal(wanted)
	if err != nil {
		panic("the configuration can't be written as JSON: " + err.Error()) // strings and numbers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Store keeps the records of one host. [Dir] is the real one.
type Store interface {
	// Lock takes the host's one lock; waiting is called if another run has it.
	Lock(ctx context.Context, waiting func()) (unlock func() error, err error)
	LoadRecord(source string) (Record, error)
	// Records gives those of all sources; what can't be read is left out.
	Records() []Record
	SaveRecord(Record) error
	DropRecord(source string) error
}

// Kernel is what a record is checked against.
type Kernel interface {
	Find(v mountfs.Volume) (mountfs.Device, error)
	Mounts() ([]mountfs.Mount, error)
	CheckBind(mountpoint, dir, target string) (bool, error)
}

// Ready says whether an earlier run's work for a source is all still there, by the kernel
// alone: the device is the volume's, it is mounted, every bind shows it.
func Ready(store Store, kernel Kernel, src config.Source) (Record, bool) {
	r, err := store.LoadRecord(src.Name)
	if err != nil || r.Wanted != Digest(src) {
		return Record{}, false
	}
	dev, err := kernel.Find(r.Wants())
	if err != nil || dev.Major != r.Major || dev.Minor != r.Minor {
		return Record{}, false
	}
	mounts, err := kernel.Mounts()
	if err != nil || !mountfs.MountedAt(mounts, src.Mount, dev) {
		return Record{}, false
	}
	for _, bind := range src.Binds {
		if ok, err := kernel.CheckBind(src.Mount, bind.Dir, bind.Target); err != nil || !ok {
			return Record{}, false
		}
	}
	return r, true
}
