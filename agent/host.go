package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"snapsource/agent/failure"
	"snapsource/mountfs"
)

// RunDir holds the lock and the records. It is on a tmpfs on every systemd host,
// so that a reboot begins with an empty one.
const RunDir = "/run/snapsource"

// host is the machine that this process runs on.
type host struct{ dir string }

// NewHost gives the real host, with lock and records in dir; see [RunDir].
func NewHost(dir string) Host { return host{dir} }

func (h host) Lock(ctx context.Context, waiting func()) (func() error, error) {
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return nil, failure.NotRoot(err)
	}
	unlock, err := mountfs.Lock(ctx, filepath.Join(h.dir, "lock"), waiting)
	return unlock, failure.NotRoot(err)
}

func (h host) Mounts() ([]mountfs.Mount, error)               { return mountfs.Mounts() }
func (h host) LookTarget(path string) (mountfs.Target, error) { return mountfs.LookTarget(path) }
func (h host) Find(v mountfs.Volume) (mountfs.Device, error)  { return mountfs.Find(v) }
func (h host) MkfsPath() (string, error)                      { return mountfs.MkfsPath() }

func (h host) Watch(v mountfs.Volume) (Watch, error) {
	return mountfs.NewWaiter(v), nil
}

func (h host) OpenDisk(d mountfs.Device) (Disk, error) {
	disk, err := mountfs.OpenDisk(d)
	if err != nil {
		return nil, failure.NotRoot(err)
	}
	return disk, nil
}

func (h host) MountXFS(d mountfs.Device, target string, options []string) (mountfs.XFSMount, error) {
	m, err := mountfs.MountXFS(d, target, options)
	return m, failure.NotRoot(err)
}

func (h host) Grow(mountpoint string, deviceSize int64) (before, after int64, err error) {
	return mountfs.Grow(mountpoint, deviceSize)
}

func (h host) Bind(mountpoint, dir, target string, create bool) (bool, error) {
	return mountfs.Bind(mountpoint, dir, target, create)
}

func (h host) Unmount(target string) error { return failure.NotRoot(mountfs.Unmount(target)) }

func (h host) NotFrozen(path string) error { return mountfs.NotFrozen(path, DefaultFreezeTimeout) }

func (h host) Users(ctx context.Context, d mountfs.Device) ([]string, error) {
	return mountfs.Users(ctx, d)
}

func (h host) CheckBind(mountpoint, dir, target string) (bool, error) {
	return mountfs.CheckBind(mountpoint, dir, target)
}

func (h host) Revision(dir string) string { return revisionOf(dir) }

func (h host) Flush(mountpoint string) error { return failure.NotRoot(mountfs.Flush(mountpoint)) }

func (h host) Freeze(mountpoint string, limit time.Duration, lost func()) (Frozen, error) {
	f, err := mountfs.Freeze(mountpoint, limit, lost)
	if err != nil {
		return nil, failure.NotRoot(err) // not f: a nil in an interface is none
	}
	return f, nil
}

// recordName is the most of a source's name that becomes part of a file name, which
// has at most 255 bytes.
const recordName = 200

// recordFile keeps a source's name from reaching the path as a directory. Escaped,
// it may be too long for a file name.
func (h host) recordFile(source string) string {
	name := url.PathEscape(source)
	if len(name) > recordName {
		name = name[:recordName] + "~" + digest(source)
	}
	return filepath.Join(h.dir, name+".json")
}

func (h host) LoadRecord(source string) (Record, error) {
	var r Record
	text, err := os.ReadFile(h.recordFile(source))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

func (h host) Records() (all []Record) {
	files, err := filepath.Glob(filepath.Join(h.dir, "*.json"))
	if err != nil {
		return nil // the pattern is none
	}
	for _, file := range files {
		var r Record
		text, err := os.ReadFile(file)
		if err == nil && json.Unmarshal(text, &r) == nil {
			all = append(all, r)
		}
	}
	return all
}

// SaveRecord replaces the record as a whole, so that no reader sees half of one, not even
// after a power cut, should RunDir be on a disk.
func (h host) SaveRecord(r Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return renameio.WriteFile(h.recordFile(r.Source), text, 0o644, renameio.WithTempDir(h.dir))
}

func (h host) DropRecord(source string) error {
	err := os.Remove(h.recordFile(source))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
