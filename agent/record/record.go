// Package record saves the result of a run under /run/snapsource, for the next run and for
// status. A record is a hint: [Ready] checks it against the kernel.
package record

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/mountfs"
)

// Format is the version of a record's format. A field that is added does not change it, so that an older
// program still reads the record: only one that means something else does. 0 is 1, from before there
// were versions.
const Format = 1

// Record is a run's result for one source.
type Record struct {
	Format    int          `json:"format"` // see Format
	Source    string       `json:"source"`
	Roles     string       `json:"roles"`              // digest of the announced roles
	Announced config.Roles `json:"announced"`          // the roles themselves
	Hook      string       `json:"hook,omitempty"`     // the launch hook that is completed
	NoGroup   string       `json:"no_group,omitempty"` // the configured hook, if the instance is in no group
	Instance  string       `json:"instance"`
	Region    string       `json:"region"`
	Zone      string       `json:"zone"`
	Volume    string       `json:"volume"`
	Early     string       `json:"early,omitempty"` // a volume that is mounted before EC2 says whose it is
	Facts     Facts        `json:"facts"`           // about the volume
	Snapshot  string       `json:"snapshot,omitempty"`
	Taken     *time.Time   `json:"taken,omitempty"` // when the snapshot was started, or its original, if known
	CopyOf    *CopyOf      `json:"copy_of,omitempty"`
	Revision  string       `json:"revision,omitempty"` // of the snapshot's release, if known
	Device    string       `json:"device"`             // EC2's device name
	Node      string       `json:"node"`
	Major     uint32       `json:"major"`
	Minor     uint32       `json:"minor"`
	Size      int64        `json:"size"`  // of the device, in bytes
	Ready     time.Time    `json:"ready"` // zero: a launch from this volume is not announced yet
	Applied   Applied      `json:"applied"`
}

// Facts are what EC2 showed of the volume.
type Facts struct {
	SizeGiB    int32  `json:"size_gib"`
	Type       string `json:"type"`
	IOPS       int32  `json:"iops,omitempty"`
	Throughput int32  `json:"throughput,omitempty"` // MiB/s
	Encrypted  bool   `json:"encrypted"`
	KMSKey     string `json:"kms_key,omitempty"` // its ARN

	FastRestored       bool  `json:"fast_restored,omitempty"`       // by fast snapshot restore
	InitializationRate int32 `json:"initialization_rate,omitempty"` // MiB/s; 0: none is provisioned

	Tags map[string]string `json:"tags,omitempty"`
}

// Applied are settings that take effect when the volume is attached or mounted, as they were
// then.
type Applied struct {
	Device  string   `json:"device"`            // the configured device name
	Options []string `json:"options,omitempty"` // of the file system; see [mountfs.FileSystemOptions]
	Binds   []string `json:"binds,omitempty"`   // the targets
}

// Wants returns what to find the device of the record's volume by.
func (r Record) Wants() mountfs.Volume {
	return mountfs.Volume{ID: r.Volume, Name: r.Device, Size: r.Size}
}

// Digest returns a digest of a configuration (a source, the roles), to detect changes.
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
	// CheckWritable returns an error if no record can be saved.
	CheckWritable() error
	LoadRecord(source string) (Record, error)
	// Records returns those of all sources, without those that can't be read.
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

// NoneFinished says that there is no record, or one of a launch that has not finished.
const NoneFinished = "no launch has finished since this instance was booted"

// Finished returns the record of a source's last launch. why says what is wrong with it, for people: ""
// if the launch has finished. The error is [fs.ErrPermission]: only root may read it.
func Finished(store interface{ LoadRecord(string) (Record, error) }, source string) (r Record, why string, err error) {
	r, err = store.LoadRecord(source)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return r, "", failure.NotRoot(fmt.Errorf("read the record of the last launch: %w", err))
	case errors.Is(err, fs.ErrNotExist) || err == nil && r.Ready.IsZero():
		return r, NoneFinished, nil
	case err != nil:
		return r, "the record of the last launch can't be read: " + failure.Line(err), nil
	}
	return r, "", nil
}

// Ready returns the record of a source, and the device, and whether the source is still ready:
// the kernel shows the volume's device, mount and binds, with the configured options.
func Ready(store Store, kernel Kernel, src config.Source) (Record, mountfs.Device, bool) {
	r, err := store.LoadRecord(src.Name)
	if err != nil || r.Ready.IsZero() {
		return Record{}, mountfs.Device{}, false
	}
	dev, err := kernel.Find(r.Wants())
	if err != nil || dev.Major != r.Major || dev.Minor != r.Minor {
		return Record{}, dev, false
	}
	mounts, err := kernel.Mounts()
	if err != nil || !mountfs.MountedAt(mounts, src.Mount, dev) || !asWanted(mounts, src.Mount, src) {
		return Record{}, dev, false
	}
	for _, bind := range src.Binds {
		if ok, err := kernel.CheckBind(src.Mount, bind.Dir, bind.Target); err != nil || !ok || !asWanted(mounts, bind.Target, src) {
			return Record{}, dev, false
		}
	}
	return r, dev, true
}

// asWanted reports whether the mount at a path has the configured options.
func asWanted(mounts []mountfs.Mount, path string, src config.Source) bool {
	m, ok := mountfs.MountAt(mounts, path)
	return ok && len(mountfs.OptionsDiffer(src.MountOptions, m)) == 0
}
