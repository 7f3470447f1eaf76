package mountfs

import (
	"encoding/binary"
	"testing"
)

// groupHeaders are headers of a group whose btree roots lie in these blocks.
func groupHeaders(sector int, blocks ...uint32) []byte {
	b := make([]byte, 4*sector)
	agf, agi := b[sector:], b[2*sector:]
	copy(agf, agfMagic)
	copy(agi, agiMagic)
	for i, block := range blocks {
		if i < len(agfRoots) {
			binary.BigEndian.PutUint32(agf[agfRoots[i]:], block)
		} else {
			binary.BigEndian.PutUint32(agi[agiRoots[i-len(agfRoots)]:], block)
		}
	}
	return b
}

// TestPrereadBounds: however large the file system is, the reads are few, within the device, and
// one in each block of EBS, those of the groups' headers apart.
func TestPrereadBounds(t *testing.T) {
	for name, l := range map[string]layout{
		"4 groups":      {blockSize: 4096, sectorSize: 512, inodeSize: 512, agBlocks: 327680, agCount: 4, logBlocks: 4096},
		"10,000 groups": {blockSize: 4096, sectorSize: 512, inodeSize: 512, agBlocks: 327681, agCount: 10_000, logBlocks: 521728},
		"no log":        {blockSize: 1024, sectorSize: 4096, inodeSize: 512, agBlocks: 16384, agCount: 3},
	} {
		t.Run(name, func(t *testing.T) {
			l.dataBlocks = l.agCount * l.agBlocks
			if l.logBlocks > 0 {
				l.logStart = 2<<l.agShift() | 77
			}
			p := &prereading{layout: l, size: l.size(), touched: map[int64]bool{0: true}, count: 1}
			// In the middle of the second group, away from its headers.
			root := (1<<l.agShift() | uint64(l.agBlocks)/2) * uint64(l.blockSize/l.inodeSize)
			headers, log := p.groups(), p.log()
			reads := p.logHead(append(log, p.first(root)...), log, cycles(len(log), 7))
			for group := range headers {
				if headers[group].Start != l.agBlock(int64(group), 0) {
					t.Errorf("group %d: %v", group, headers[group])
				}
				reads = p.roots(reads, int64(group), groupHeaders(int(l.sectorSize), 1, 2, uint32(l.agBlocks), 9000, 0, 15000))
			}
			if n := len(headers) + len(reads) + 1; n > prereadMax || n != p.count {
				t.Errorf("%d reads, counted %d", n, p.count)
			}
			wantGroups := min(l.agCount, prereadGroups)
			if int64(len(headers)) != wantGroups {
				t.Errorf("headers of %d groups", len(headers))
			}
			blocks := map[int64]bool{}
			for _, r := range reads {
				r = r.Aligned(l.size())
				block := r.Start / EBSBlock
				if blocks[block] || r.Length <= 0 || r.Length > sectorMax || r.Start < 0 || r.End() > l.size() || (r.End()-1)/EBSBlock != block {
					t.Errorf("read %v, block %d before: %v", r, block, blocks[block])
				}
				blocks[block] = true
			}
			if at := l.cluster(root); !blocks[at.Start/EBSBlock] || !blocks[(l.size()-1)/EBSBlock] {
				t.Errorf("the root directory at %v is not read, or the last sector", at)
			}
			for _, root := range []int64{9000, 15000} { // of the AGF and the AGI
				if at := l.agBlock(1, root); !blocks[at/EBSBlock] {
					t.Errorf("the root of a btree at %d is not read", at)
				}
			}
			wantLog(t, l, blocks)
		})
	}
}

// wantLog checks that the first and the last block of the log are read.
func wantLog(t *testing.T, l layout, blocks map[int64]bool) {
	t.Helper()
	log := l.log()
	if log.Length == 0 {
		return
	}
	begin, end, n := log.Start/EBSBlock, (log.End()-1)/EBSBlock, int64(0)
	for block := begin; block <= end; block++ {
		if blocks[block] {
			n++
		}
	}
	if !blocks[begin] || !blocks[end] || n < min(end-begin+1, prereadLog) {
		t.Errorf("%d of %d blocks of the log, the first %v, the last %v", n, end-begin+1, blocks[begin], blocks[end])
	}
	step := max(log.Length/prereadLog, EBSBlock)
	for block := (log.Start + 6*step) / EBSBlock; block <= (log.Start+7*step)/EBSBlock; block++ {
		if !blocks[block] {
			t.Errorf("block %d at the log's head is not read", block)
		}
	}
}

// cycles are n samples of a log whose head lies before the sample called head.
func cycles(n, head int) (samples [][]byte) {
	for i := range n {
		cycle := uint32(8)
		if i >= head {
			cycle = 7
		}
		b := binary.BigEndian.AppendUint32(nil, cycle)
		if i%3 == 0 {
			b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, logRecordMagic), cycle)
		}
		samples = append(samples, append(b, make([]byte, 500)...))
	}
	return samples
}

// TestPrereadDamaged: headers that are none add nothing.
func TestPrereadDamaged(t *testing.T) {
	l := layout{blockSize: 4096, sectorSize: 512, inodeSize: 512, agBlocks: 32768, agCount: 1, dataBlocks: 32768}
	p := &prereading{layout: l, size: l.size(), touched: map[int64]bool{}}
	for _, b := range [][]byte{nil, make([]byte, 100), make([]byte, 2048)} {
		if reads := p.roots(nil, 0, b); len(reads) != 0 {
			t.Errorf("%v", reads)
		}
	}
	if reads := p.roots(nil, 0, groupHeaders(512, 1<<31, 32768)); len(reads) != 0 {
		t.Errorf("outside the group: %v", reads)
	}
}
