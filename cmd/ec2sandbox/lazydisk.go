//go:build linux

package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// lazyMode shows the volumes of a run as slow as EBS.
type lazyMode struct {
	profile lazyProfile
	seed    uint64
}

// newLazyMode returns a mode; the seed 0 stands for one by chance.
func newLazyMode(p lazyProfile, seed uint64) *lazyMode {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return &lazyMode{profile: p, seed: seed}
}

// lazyFiles returns the paths of a volume's files.
func (s state) lazyFiles(volumeID string) lazyFiles {
	base := s.dir + "/volumes/" + volumeID
	return lazyFiles{image: s.volume(volumeID), blocks: base + ".lazy", counts: base + ".lazy.json"}
}

// lazyDisk is a volume behind the loop device of one attachment.
type lazyDisk struct {
	volume *lazyVolume
	mount  *fuseMount
	dev    string
	census atomic.Pointer[census] // nil until the loop device has a number
}

func openLazyDisk(st state, mode lazyMode, v *ec2test.Volume, dev string) (*lazyDisk, error) {
	files := st.lazyFiles(v.ID)
	volume, err := openLazyVolume(files, v, mode.profile, mode.seed)
	if err != nil {
		return nil, err
	}
	d := &lazyDisk{volume: volume, dev: dev}
	volume.who = d.who
	if d.mount, err = mountFile(files.image, volume); err != nil {
		return nil, errors.Join(err, volume.close())
	}
	return d, nil
}

func (d *lazyDisk) who(offset int64, length int, write bool) reader {
	if c := d.census.Load(); c != nil {
		return c.who(offset, length, write)
	}
	return readerUnknown
}

// open returns the file for a loop device, whose requests are counted from now on.
func (d *lazyDisk) open(number int) (*os.File, uint32, error) {
	c, why := newCensus(number, d.dev)
	if old := d.census.Swap(c); old != nil { // another process took that device
		if err := old.Close(); err != nil {
			return nil, 0, err
		}
	}
	d.volume.counts.update(func(counts *volumeCounts) {
		counts.Untraced = ""
		if why != nil {
			counts.Untraced = why.Error()
		}
	})
	file, err := d.mount.open()
	// A loop device serves buffered requests by one worker, one after the other; direct ones are
	// in flight at the same time. (drivers/block/loop.c, loop_queue_rq and lo_rw_aio)
	return file, unix.LO_FLAGS_DIRECT_IO, err
}

// close ends the volume's service. No loop device uses it any more.
func (d *lazyDisk) close() error {
	err := errors.Join(d.mount.close(), d.volume.close())
	if c := d.census.Load(); c != nil {
		err = errors.Join(err, c.Close())
	}
	return err
}
