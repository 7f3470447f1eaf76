package record

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"snapsource/agent/failure"
	"snapsource/mountfs"
)

// Warming is how far the blocks of a source's volume have been read; see package warm.
type Warming struct {
	Volume string `json:"volume"`
	Mode   string `json:"mode"` // what is to be read: config.WarmHot or config.WarmAll

	HotSet   string `json:"hot_set,omitempty"` // when it was recorded
	HotUnits int    `json:"hot_units"`         // of it, read without a gap
	Hot      Amount `json:"hot"`

	Part int    `json:"part"` // of the file system in use: those before it are read
	Upto int64  `json:"upto"` // of the part, up to this address of the device
	Used Amount `json:"used"`

	Rate    float64       `json:"rate"`   // bytes a second
	Failed  int64         `json:"failed"` // reads
	Error   string        `json:"error,omitempty"`
	Before  time.Duration `json:"before_ns,omitempty"` // median of the first reads of a block
	After   time.Duration `json:"after_ns,omitempty"`  // of second ones
	Began   time.Time     `json:"began"`
	Updated time.Time     `json:"updated"`
	Ended   time.Time     `json:"ended,omitzero"` // all is read; zero: not yet
}

// Amount is how many bytes of how many are read. The total is 0 while it is unknown.
type Amount struct {
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
}

// Percent returns the part in percent; 100 for nothing of nothing.
func (a Amount) Percent() int {
	if a.Total <= a.Bytes {
		return 100
	}
	return int(a.Bytes * 100 / a.Total)
}

// warmingFile returns the file name of a source's [Warming]. Its lock shows the process that
// reads.
func (d Dir) warmingFile(source, suffix string) string {
	return strings.TrimSuffix(d.file(source), ".json") + suffix
}

const (
	warmingSuffix = ".warm"
	claimSuffix   = ".warm.lock"
)

// LoadWarming returns how far a source's volume is read; zero if nothing is known.
func (d Dir) LoadWarming(source string) (w Warming, err error) {
	text, err := os.ReadFile(d.warmingFile(source, warmingSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	if json.Unmarshal(text, &w) != nil || w.HotUnits < 0 || w.Part < 0 || w.Upto < 0 {
		return Warming{}, nil //nolint:nilerr // nothing is known then
	}
	return w, nil
}

// SaveWarming replaces it.
func (d Dir) SaveWarming(source string, w Warming) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	err = renameio.WriteFile(d.warmingFile(source, warmingSuffix), text, 0o644, renameio.WithTempDir(string(d)))
	return d.explain(err)
}

// explain returns why nothing can be written, if that is the cause of an error.
func (d Dir) explain(err error) error {
	if err == nil || errors.Is(err, mountfs.ErrBusy) {
		return err
	}
	if why := d.CheckWritable(); why != nil {
		return why
	}
	return failure.NotRoot(err)
}

// ClaimWarming makes this process the one that reads a source's volume, until release.
// [mountfs.ErrBusy]: another one does.
func (d Dir) ClaimWarming(source string) (release func() error, err error) {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return nil, d.explain(err)
	}
	c, err := mountfs.TakeClaim(d.warmingFile(source, claimSuffix))
	if err != nil {
		return nil, d.explain(err)
	}
	return c.Release, nil
}

// recently is how new the state of a process is that reads: it saves it four times a second.
const recently = 3 * time.Second

// WarmingRuns reports whether a process reads a source's volume. For others than root its state
// says that, as far as it can.
func (d Dir) WarmingRuns(source string) bool {
	pid, err := mountfs.Claimant(d.warmingFile(source, claimSuffix))
	if errors.Is(err, fs.ErrPermission) {
		w, err := d.LoadWarming(source)
		return err == nil && w.Ended.IsZero() && w.Error == "" && time.Since(w.Updated) < recently
	}
	return err == nil && pid != 0
}

// EndWarming ends the process that reads a source's volume, if there is one.
func (d Dir) EndWarming(ctx context.Context, source string) error {
	return mountfs.EndClaimant(ctx, d.warmingFile(source, claimSuffix))
}

// removeWarming removes what is known of a volume that is taken down. The lock file stays: a
// process that waits for it would otherwise lock a file that nobody finds.
func (d Dir) removeWarming(source string) {
	_ = os.Remove(d.warmingFile(source, warmingSuffix)) // without it nothing is known
}
