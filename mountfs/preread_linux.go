package mountfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prereadParallel is the number of reads at the same moment.
const prereadParallel = 64

// Preread reads side by side the blocks that mounting an XFS reads one after the other. On a
// volume that EBS still loads from its snapshot each of them takes some 100 ms at first. It makes
// at most 1,024 reads of a few sectors, past the page cache, in three rounds: the superblock; what it
// names, such as the groups' headers and the log; what these name, such as the roots of btrees.
//
// It is only for speed: what is no XFS or can't be read is left to the mount. Errors:
// ErrWrongDevice when the node is another device now, or that it can't be opened. When ctx ends it
// returns at once; reads that are under way go on in the background until the device answers.
func Preread(ctx context.Context, d Device) error {
	r, err := OpenReader(d)
	if errors.Is(err, unix.EINVAL) {
		return nil // no O_DIRECT on this device
	}
	if err != nil {
		return fmt.Errorf("read ahead of the mount: %w", err)
	}
	defer r.Close() // takes effect after the last read
	start := r.readAll(ctx, []Range{{0, min(sectorMax, d.Size)}})
	if start == nil {
		return nil
	}
	p, root := newPrereading(start[0], d.Size)
	if p == nil {
		return nil // the mount reports why
	}
	headers, log := p.groups(), p.log()
	read := r.readAll(ctx, append(append(headers, log...), p.first(root)...))
	if read == nil {
		return nil
	}
	second := p.logHead(nil, log, read[len(headers):])
	for group := range headers {
		second = p.roots(second, int64(group), read[group])
	}
	r.readAll(ctx, second)
	return nil
}

// readAll reads all ranges, several at the same time, and returns what they hold: nil for a range
// that can't be read, and nil for all if ctx ends first.
func (r *Reader) readAll(ctx context.Context, ranges []Range) [][]byte {
	read := make([][]byte, len(ranges))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(prereadParallel, len(ranges)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(ranges) {
					return
				}
				read[i] = r.readRange(ranges[i])
			}
		})
	}
	done := make(chan struct{})
	go func() { // ends with the workers
		workers.Wait()
		close(done)
	}()
	select {
	case <-ctx.Done():
		return nil // nobody looks at read
	case <-done:
		return read
	}
}

// readRange returns the contents of a range; nil if it can't be read. Its memory is the garbage
// collector's: nobody waits for the end of a read that goes on in the background.
func (r *Reader) readRange(of Range) []byte {
	at := of.Aligned(r.device.Size)
	if at.Length <= 0 {
		return nil
	}
	b := make([]byte, at.Length+ReadAlignment)
	b = b[-uintptr(unsafe.Pointer(unsafe.SliceData(b)))&(ReadAlignment-1):][:at.Length]
	if n, err := r.ReadAt(b, at.Start); err != nil || n < len(b) {
		return nil
	}
	return b[of.Start-at.Start:]
}
