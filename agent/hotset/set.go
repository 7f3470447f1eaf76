// Package hotset records the hot set of a file system, and reads the record: which parts of which
// files are in the page cache, in the order of their use as far as that is known. The record is a
// file in the file system itself, so it is part of every snapshot. A volume that is created from
// the snapshot has the same layout, and its first reads can be those of the hot set.
package hotset

import (
	"time"

	"snapsource/mountfs"
)

const (
	// Dir is the directory of the record, in the root directory of the file system.
	Dir = ".snapsource"
	// Name is the name of the record.
	Name = "hot"
	// MaxBytes is the most that a record may hold.
	MaxBytes = 4 << 20
	// maxFiles and maxRanges bound the memory that a record takes when it is read: some 20 MB.
	maxFiles  = 1 << 16
	maxRanges = 1 << 17
	// DefaultLimit is how long Record may take.
	DefaultLimit = 2 * time.Second
)

// Set is a recorded hot set.
type Set struct {
	Recorded time.Time
	ByHand   bool  // the last record was made by hand, not by a snapshot
	Complete bool  // all files of the file system were looked at
	Size     int64 // of the file system, bytes
	// Metadata is where the inodes of the files lie, and the directories on their paths.
	Metadata []mountfs.Range
	Files    []File // most used first
}

// File is a file of which parts are in the page cache.
type File struct {
	Path     string // relative to the mountpoint
	Inode    uint64
	Size     int64 // bytes
	Modified time.Time
	ByHand   bool            // from a record made by hand
	Ranges   []mountfs.Range // of the file: sorted, disjoint
	Blocks   []mountfs.Range // of the device, in the order of the file
}

// Options are the options of Record.
type Options struct {
	ByHand bool          // the record stays in force: later ones begin with its files
	Limit  time.Duration // how long it may take; 0 for DefaultLimit
	Max    int64         // bytes of the record, at most MaxBytes; 0 for MaxBytes
}

// Summary is what Record did.
type Summary struct {
	Files    int
	Bytes    int64  // of the files
	Ranges   int    // of the device
	Complete bool   // all files were looked at, and all of the hot set is in the record
	ByHand   int    // files from a record made by hand
	Size     int    // of the record, bytes; 0 if none was written
	Skipped  string // why none was written
	Took     time.Duration
}
