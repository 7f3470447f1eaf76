//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// saveEvery is how often the counts are saved, if they have changed.
const saveEvery = 250 * time.Millisecond

// lazyVolume is the data of a volume, served as slowly as EBS serves them.
type lazyVolume struct {
	image  *os.File
	blocks *blockMap
	limits *volumeLimits
	fetch  *fetcher
	counts *lazyCounts
	// who names the reader behind a request.
	who func(offset int64, length int, write bool) reader

	cancel  context.CancelFunc
	hurry   chan struct{}
	once    sync.Once // closes hurry
	running sync.WaitGroup
}

// lazyFiles are the paths of a volume's files.
type lazyFiles struct{ image, blocks, counts string }

// openLazyVolume opens a volume until close is called.
func openLazyVolume(files lazyFiles, v *ec2test.Volume, p lazyProfile, seed uint64) (*lazyVolume, error) {
	counts, err := openCounts(files.counts, v.ID, p)
	if err != nil {
		return nil, err
	}
	blocks := &blockMap{}
	if p.cold && !v.FastRestored {
		if blocks, err = openBlockMap(files.blocks); err != nil {
			return nil, err
		}
	}
	image, err := os.OpenFile(files.image, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the image of %s: %w", v.ID, err), blocks.Close())
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends with close
	l := &lazyVolume{
		image: image, blocks: blocks, counts: counts, cancel: cancel, hurry: make(chan struct{}),
		who: func(int64, int, bool) reader { return readerUnknown },
	}
	l.limits = newLimits(p.latency, l.hurry)
	l.limits.set(v)
	l.fetch = newFetcher(ctx, p, seed, l.hurry, blocks, counts)
	if v.InitializationRate > 0 && p.cold {
		created, rate := v.Created, v.InitializationRate
		l.running.Go(func() { l.fetch.load(created, rate) }) // ends with ctx
	}
	l.running.Go(func() { l.keepCounts(ctx) })
	return l, nil
}

// keepCounts saves the counts until ctx ends.
func (l *lazyVolume) keepCounts(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		if err := l.counts.save(l.blocks); err != nil {
			complain("%v", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// rush lifts all limits: the instance is down, and what is flushed now costs nobody's time.
func (l *lazyVolume) rush() { l.once.Do(func() { close(l.hurry) }) }

// close ends all requests and closes the files.
func (l *lazyVolume) close() error {
	l.cancel()
	l.fetch.wait()
	l.running.Wait()
	return errors.Join(l.counts.save(l.blocks), l.blocks.Close(), l.image.Close())
}

// read fills buf, as a disk does: all of it.
func (l *lazyVolume) read(buf []byte, offset int64) error {
	who := l.who(offset, len(buf), false)
	defer l.counts.request(who, false, len(buf))()
	if err := l.limits.admit(l.fetch.ctx, len(buf)); err != nil {
		return err
	}
	if err := l.fetch.await(touched(offset, len(buf)), who); err != nil {
		return err
	}
	n, err := l.image.ReadAt(buf, offset)
	if errors.Is(err, io.EOF) {
		clear(buf[n:])
		err = nil
	}
	return err
}

// write writes data. A block that is written in part is fetched first.
func (l *lazyVolume) write(data []byte, offset int64) error {
	who := l.who(offset, len(data), true)
	defer l.counts.request(who, true, len(data))()
	if err := l.limits.admit(l.fetch.ctx, len(data)); err != nil {
		return err
	}
	whole, part := split(offset, int64(len(data)))
	if err := l.fetch.await(part, who); err != nil {
		return err
	}
	if _, err := l.image.WriteAt(data, offset); err != nil {
		return err
	}
	l.overwrite(whole)
	return nil
}

// erase makes a range zeros, or a hole. It is no I/O to the volume's limits, and what remains of
// a block that is erased in part stays cold.
func (l *lazyVolume) erase(offset, length int64, mode uint32) error {
	if err := unix.Fallocate(int(l.image.Fd()), mode, offset, length); err != nil {
		return err
	}
	whole, _ := split(offset, length)
	l.overwrite(whole)
	return nil
}

func (l *lazyVolume) overwrite(blocks []int64) {
	for _, b := range blocks {
		if l.blocks.overwrite(b) {
			l.counts.update(func(*volumeCounts) {})
		}
	}
}

// size returns the volume's size in bytes.
func (l *lazyVolume) size() (int64, error) {
	info, err := l.image.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// touched returns the blocks of a range.
func touched(offset int64, length int) []int64 {
	var blocks []int64
	for b := offset / lazyBlock; b*lazyBlock < offset+int64(length); b++ {
		blocks = append(blocks, b)
	}
	return blocks
}

// split returns the blocks that lie in a range as a whole, and those in part.
func split(offset, length int64) (whole, part []int64) {
	for b := offset / lazyBlock; b*lazyBlock < offset+length; b++ {
		if b*lazyBlock >= offset && (b+1)*lazyBlock <= offset+length {
			whole = append(whole, b)
		} else {
			part = append(part, b)
		}
	}
	return whole, part
}
