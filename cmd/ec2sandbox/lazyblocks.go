//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// lazyBlock is the size of the blocks of EBS snapshots. (ListSnapshotBlocks, EBS direct APIs)
const lazyBlock = 512 << 10

// blockMap is what a volume remembers of the blocks of its snapshot. It is a mapped file: a
// SIGKILL loses nothing of it. If a crash of the host does, blocks are cold again; their data
// are in the image all along.
//
// The file is a header of one page (magic, number of blocks), and three bitmaps: blocks with
// data in the snapshot, of those the ones on the volume by now, and of these the fetched ones.
type blockMap struct {
	mu                  sync.Mutex
	file                []byte // mapped; nil if the volume is not lazy
	count               int64
	data, warm, fetched []byte
}

const (
	blockMagic  = "ec2lazy1"
	blockHeader = 4096
)

// createBlockMap creates the map of a volume with the given image: all its blocks with data
// are cold.
func createBlockMap(path, image string) (err error) {
	f, err := os.Open(image)
	if err != nil {
		return fmt.Errorf("make a block map: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("make a block map: %w", err)
	}
	count := (info.Size() + lazyBlock - 1) / lazyBlock
	content := make([]byte, blockHeader+3*mapBytes(count))
	copy(content, blockMagic)
	binary.LittleEndian.PutUint64(content[len(blockMagic):], uint64(count))
	for offset := int64(0); ; {
		start, end, err := nextData(offset, f)
		if err != nil {
			return fmt.Errorf("make a block map: %w", err)
		}
		if start < 0 {
			break
		}
		for b := start / lazyBlock; b < min(count, (end+lazyBlock-1)/lazyBlock); b++ {
			setBit(content[blockHeader:], b)
		}
		offset = end
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("make a block map: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("make a block map: %w", err)
	}
	return nil
}

// openBlockMap maps a file. Without one, no block is lazy.
func openBlockMap(path string) (*blockMap, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &blockMap{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open a block map: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open a block map: %w", err)
	}
	if info.Size() < blockHeader {
		return nil, fmt.Errorf("%s is not a block map", path)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	count := int64(binary.LittleEndian.Uint64(mapped[len(blockMagic):]))
	if string(mapped[:len(blockMagic)]) != blockMagic || count < 0 || info.Size() != blockHeader+3*mapBytes(count) {
		return nil, errors.Join(fmt.Errorf("%s is not a block map", path), unix.Munmap(mapped))
	}
	n := mapBytes(count)
	at := func(i int64) []byte { return mapped[blockHeader+i*n : blockHeader+(i+1)*n] }
	return &blockMap{file: mapped, count: count, data: at(0), warm: at(1), fetched: at(2)}, nil
}

// Close unmaps the file. No block is cold after that.
func (m *blockMap) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	mapped := m.file
	m.file, m.count, m.data, m.warm, m.fetched = nil, 0, nil, nil, nil
	if err := unix.Munmap(mapped); err != nil {
		return fmt.Errorf("unmap a block map: %w", err)
	}
	return nil
}

// cold says whether a block has to be fetched before it is read.
func (m *blockMap) cold(block int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return block < m.count && bit(m.data, block) && !bit(m.warm, block)
}

// overwrite makes a block warm without a fetch. It says whether it was cold.
func (m *blockMap) overwrite(block int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if block >= m.count || !bit(m.data, block) || bit(m.warm, block) {
		return false
	}
	setBit(m.warm, block)
	return true
}

// arrive makes a fetched block warm. It says whether the block had been fetched before.
func (m *blockMap) arrive(block int64) (twice bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if block >= m.count {
		return false
	}
	twice = bit(m.fetched, block)
	setBit(m.fetched, block)
	setBit(m.warm, block)
	return twice
}

// blockTotals are numbers of blocks.
type blockTotals struct{ data, warm, fetched int64 }

func (m *blockMap) totals() blockTotals {
	m.mu.Lock()
	defer m.mu.Unlock()
	return blockTotals{ones(m.data), ones(m.warm), ones(m.fetched)}
}

// next returns the first block at or after one that has data, or -1.
func (m *blockMap) next(block int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; block < m.count; block++ {
		if bit(m.data, block) {
			return block
		}
	}
	return -1
}

// mapBytes is the size of a bitmap of n bits.
func mapBytes(n int64) int64 { return (n + 7) / 8 }

func bit(m []byte, n int64) bool { return m[n/8]>>(n%8)&1 == 1 }

func setBit(m []byte, n int64) { m[n/8] |= 1 << (n % 8) }

func ones(m []byte) int64 {
	var sum int
	for _, b := range m {
		sum += bits.OnesCount8(b)
	}
	return int64(sum)
}
