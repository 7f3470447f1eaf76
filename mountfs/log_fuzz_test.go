package mountfs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

// unmountRecord is the record that ends a clean log, in two blocks of a cycle.
func unmountRecord(uuid string, cycle uint32) []byte {
	b := make([]byte, 2*logBlock)
	be := binary.BigEndian
	be.PutUint32(b[0:], logMagic)
	be.PutUint32(b[4:], cycle)
	be.PutUint32(b[8:], logVersion2)
	be.PutUint32(b[12:], logBlock)
	be.PutUint32(b[40:], 1)
	raw, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		panic(err)
	}
	copy(b[304:], raw)
	be.PutUint32(b[320:], 32<<10)
	be.PutUint32(b[logBlock:], cycle)
	b[logBlock+9] = unmountFlag
	return b
}

// cycles fills n blocks that were written in a cycle.
func cycles(n int, cycle uint32) []byte {
	b := make([]byte, n*logBlock)
	for off := 0; off < len(b); off += logBlock {
		binary.BigEndian.PutUint32(b[off:], cycle)
	}
	return b
}

// FuzzReadLog: of a log that changes from one cycle to another at a block, with the
// record of an unmount somewhere and any bytes over it, little is read; and it is
// called clean exactly if that record is the last.
func FuzzReadLog(f *testing.F) {
	const uuid = "f2fc6c8f-cfd0-52eb-af6c-aa6562e1285f"
	f.Add(uint32(1), uint32(0), uint8(2), uint8(0), uint16(0), []byte{})
	f.Add(uint32(3), uint32(2), uint8(42), uint8(40), uint16(0), []byte{})
	f.Add(uint32(3), uint32(2), uint8(42), uint8(39), uint16(0), []byte{})
	f.Add(uint32(4), uint32(3), uint8(1), uint8(63), uint16(0), []byte{})
	f.Add(uint32(7), uint32(7), uint8(0), uint8(62), uint16(0), []byte{})
	f.Add(uint32(7), uint32(5), uint8(9), uint8(7), uint16(0), []byte{})
	f.Add(uint32(3), uint32(2), uint8(42), uint8(40), uint16(40*logBlock+12), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint32(3), uint32(2), uint8(42), uint8(40), uint16(40*logBlock+40), []byte{0, 0, 0, 2})
	f.Add(uint32(3), uint32(2), uint8(42), uint8(40), uint16(40*logBlock+320), []byte{0xff, 0xff, 0xff, 0xff})
	sb := Superblock{UUID: uuid, BlockSize: 4096, AGBlocks: 64, AGCount: 1, LogStart: 8, LogBlocks: 8, agLog: 6}
	const blocks = 64
	const start, size = 8 * 4096, blocks * logBlock
	image := make([]byte, start+size)
	f.Fuzz(func(t *testing.T, first, last uint32, split, at uint8, off uint16, patch []byte) {
		split, at = split%blocks, at%blocks
		log := image[start:]
		copy(log, cycles(int(split), first))
		copy(log[int(split)*logBlock:], cycles(blocks-int(split), last))
		// A record at the very end goes on at the start, in the next cycle.
		here, next := last, first
		if at < split {
			here, next = first, first
		}
		record := unmountRecord(uuid, here)
		binary.BigEndian.PutUint32(record[logBlock:], next)
		for i := range 2 {
			copy(log[(int(at)+i)%blocks*logBlock:][:logBlock], record[i*logBlock:])
		}
		whole := bytes.Clone(log)
		copy(log[int(off)%size:], patch)

		reads, total := 0, 0
		state, err := readLog(readerFunc(func(b []byte, off int64) (int, error) {
			reads++
			total += len(b)
			if off < start || off+int64(len(b)) > start+size {
				t.Fatalf("reads %d bytes at %d, outside of the log", len(b), off)
			}
			return copy(b, image[off:]), nil
		}), sb)
		if err != nil || reads > 14 || total > 3*size {
			t.Fatalf("%v; %d bytes in %d reads", err, total, reads)
		}
		if bytes.Equal(whole, log) && plain(first, last, split, at) && state != LogClean {
			t.Fatalf("%s, with the record of an unmount at its end", state)
		}
		if state != LogClean {
			return
		}
		for i := range blocks {
			if isUnmount(log, i, uuid) {
				return
			}
		}
		t.Fatal("clean, without the record of an unmount")
	})
}

// plain tells a log as the kernel writes it, whose last record is the one at.
func plain(first, last uint32, split, at uint8) bool {
	return first != 0 && first < logMagic && (last == first-1 || last == 0) && split >= 2 && at == split-2
}

// isUnmount looks for the record of an unmount in its simplest words.
func isUnmount(log []byte, block int, uuid string) bool {
	header := log[block*logBlock:][:logBlock]
	be := binary.BigEndian
	return be.Uint32(header) == logMagic && be.Uint32(header[40:]) == 1 && formatUUID(header[304:320]) == uuid
}

type readerFunc func(b []byte, off int64) (int, error)

func (f readerFunc) ReadAt(b []byte, off int64) (int, error) { return f(b, off) }
