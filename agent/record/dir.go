package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"snapsource/agent/failure"
	"snapsource/mountfs"
)

// RunDir is the directory of the lock and the records. On systemd hosts /run is a tmpfs, so it
// is empty after a reboot.
const RunDir = "/run/snapsource"

// Dir is a directory with the lock and the records; see [RunDir].
type Dir string

// Lock takes the lock. It creates the directory if missing.
func (d Dir) Lock(ctx context.Context, waiting func()) (func() error, error) {
	err := os.MkdirAll(string(d), 0o755)
	if err == nil {
		var unlock func() error
		if unlock, err = mountfs.Lock(ctx, filepath.Join(string(d), "lock"), waiting); err == nil {
			return unlock, nil
		}
	}
	if why := d.CheckWritable(); why != nil && ctx.Err() == nil {
		return nil, why
	}
	return nil, failure.NotRoot(err)
}

// CheckWritable returns an error if no record can be saved, because the file system is full or
// read-only. It changes nothing.
func (d Dir) CheckWritable() error {
	return checkWritable(string(d))
}

// nameMax is the longest prefix of a source's name in a file name, which has at most 255 bytes.
const nameMax = 200

// file returns the file name of a source's record. It escapes slashes, and shortens names that
// are then too long.
func (d Dir) file(source string) string {
	name := url.PathEscape(source)
	if len(name) > nameMax {
		name = name[:nameMax] + "~" + Digest(source)
	}
	return filepath.Join(string(d), name+".json")
}

// LoadRecord reads the record of a source.
func (d Dir) LoadRecord(source string) (Record, error) { return read(d.file(source)) }

func read(file string) (r Record, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	var format struct {
		Format int `json:"format"`
	}
	// First the format: a later one may have other types.
	if err := json.Unmarshal(text, &format); err == nil && format.Format > Format {
		return Record{}, fmt.Errorf("%s has format %d, and this version of snapsource knows %d", file, format.Format, Format)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Records reads all records that can be read.
func (d Dir) Records() (all []Record) {
	files, err := filepath.Glob(filepath.Join(string(d), "*.json"))
	if err != nil {
		return nil // the pattern is malformed: d has brackets
	}
	for _, file := range files {
		if r, err := read(file); err == nil {
			all = append(all, r)
		}
	}
	return all
}

// SaveRecord replaces the record atomically, also on a power failure if the directory is on a disk.
func (d Dir) SaveRecord(r Record) error {
	r.Format = Format
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return renameio.WriteFile(d.file(r.Source), text, 0o644, renameio.WithTempDir(string(d)))
}

// DropRecord removes the record of a source, if there is one.
func (d Dir) DropRecord(source string) error {
	d.removeWarming(source)
	err := os.Remove(d.file(source))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
