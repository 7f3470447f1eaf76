//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	chunkSize = 1 << 20 // bytes compared at a time
	blockSize = 4096    // bytes written or left out at a time
	gib       = 1 << 30
)

// A volume under writes is compared with its copy for copyTimeout while its instance runs,
// and after that with the instance stopped. settleTimeout bounds the whole copy: a pass
// over the data of a busy volume took 140 ms on a loaded machine (217 in 30 s), and a
// client times out after 60 s (botocore's read timeout).
const (
	copyTimeout   = time.Second
	settleTimeout = 30 * time.Second
)

// createImage creates a sparse image of size bytes, copied from another unless that is "".
// If the other may be written to, hold stops its writers.
func createImage(ctx context.Context, path string, size int64, from string, hold func() error) (err error) {
	dst, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make an image: %w", err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if from != "" {
		if err := copyImage(ctx, dst, from, hold); err != nil {
			return err
		}
	}
	if err := dst.Truncate(size); err != nil {
		return fmt.Errorf("make an image of %d bytes: %w", size, err)
	}
	return nil
}

// snapshotImage copies an image that may be written to, as of one point in time.
func snapshotImage(ctx context.Context, path, of string, hold func() error) (err error) {
	info, err := os.Stat(of)
	if err != nil {
		return fmt.Errorf("snapshot an image: %w", err)
	}
	return createImage(ctx, path, info.Size(), of, hold)
}

// copyImage makes dst equal to the image from at one point in time.
//
// A copy-on-write file system clones it in one step. Elsewhere it is compared and patched
// until one whole pass finds no difference. Each block then was the same in that pass as
// when the pass before copied it, so the copy is the image at the start of the last pass.
// No flush is necessary: a loop device writes through to the pages that are read here. So
// the copy contains everything that the instance has synced; the rest is lost in a crash on
// EC2 too.
//
// Writers that never pause for as long as a pass are stopped after a while.
func copyImage(ctx context.Context, dst *os.File, from string, hold func() error) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy an image: %w", err)
	}
	defer src.Close()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err == nil {
		return nil
	}
	changed, err := patch(ctx, dst, src) // all of it
	passes := 1
	for begin := time.Now(); err == nil && changed > 0; passes++ {
		switch past := time.Since(begin); {
		case past > settleTimeout:
			return fmt.Errorf("copy image %s: it is written to faster than it can be copied: the last of %d passes found %d bytes changed",
				from, passes, changed)
		case past > copyTimeout && hold != nil:
			if err := hold(); err != nil {
				return fmt.Errorf("copy image %s: %w", from, err)
			}
		}
		changed, err = patch(ctx, dst, src)
	}
	if err != nil {
		return fmt.Errorf("copy image %s: %w", from, err)
	}
	return nil
}

// patch makes dst equal to src where they differ and returns the number of bytes
// that did. Holes are read as zeros, and zeros are not written over holes.
func patch(ctx context.Context, dst, src *os.File) (changed int64, err error) {
	a, b := make([]byte, chunkSize), make([]byte, chunkSize)
	for offset := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return changed, err
		}
		start, end, err := nextData(offset, src, dst)
		if err != nil || start < 0 {
			return changed, err
		}
		end = min(end, start+chunkSize)
		want, err := readChunk(src, a[:end-start], start)
		if err != nil {
			return changed, err
		}
		have, err := readChunk(dst, b[:end-start], start)
		if err != nil {
			return changed, err
		}
		// Beyond its end, dst is zeros: it is extended later.
		if len(have) < len(want) {
			clear(b[len(have):len(want)])
			have = b[:len(want)]
		}
		have = have[:len(want)]
		n, err := patchChunk(dst, want, have, start)
		changed += n
		if err != nil {
			return changed, err
		}
		offset = end
	}
}

// patchChunk writes the runs of blocks that differ.
func patchChunk(dst *os.File, want, have []byte, offset int64) (changed int64, err error) {
	if bytes.Equal(want, have) {
		return 0, nil
	}
	differ := func(at int) bool {
		end := min(at+blockSize, len(want))
		return !bytes.Equal(want[at:end], have[at:end])
	}
	for at := 0; at < len(want); at += blockSize {
		start := at
		for at < len(want) && differ(at) {
			at += blockSize
		}
		if at == start {
			continue
		}
		run := want[start:min(at, len(want))]
		if _, err := dst.WriteAt(run, offset+int64(start)); err != nil {
			return changed, err
		}
		changed += int64(len(run))
	}
	return changed, nil
}

// readChunk fills buf, or less of it at the end of the file.
func readChunk(f *os.File, buf []byte, offset int64) ([]byte, error) {
	n, err := f.ReadAt(buf, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return buf[:n], err
}

// nextData returns the first range of blocks at or after an offset, itself a
// block's, in which one of the files has data; start is -1 if there is none.
func nextData(offset int64, files ...*os.File) (start, end int64, err error) {
	start = -1
	for _, f := range files {
		data, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no data from there on
			continue
		}
		if err != nil {
			return -1, 0, fmt.Errorf("find data in %s: %w", f.Name(), err)
		}
		if start >= 0 && data > start {
			continue
		}
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) { // it has just been made one
			hole = data + 1
		} else if err != nil {
			return -1, 0, fmt.Errorf("find data in %s: %w", f.Name(), err)
		}
		if data < start || start < 0 {
			start, end = data, hole
		} else {
			end = max(end, hole)
		}
	}
	if start < 0 {
		return -1, 0, nil
	}
	return start / blockSize * blockSize, (end + blockSize - 1) / blockSize * blockSize, nil
}
