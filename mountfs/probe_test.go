package mountfs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// sparse is a device in memory: zeros but for some pieces. It fails to read
// from failAt on, if that is set.
type sparse struct {
	size   int64
	pieces pieces
	failAt int64
}

var errMedium = errors.New("medium error")

func (s sparse) ReadAt(b []byte, off int64) (int, error) {
	if s.failAt != 0 && off+int64(len(b)) > s.failAt {
		return int(max(0, s.failAt-off)), errMedium
	}
	n := int(max(0, min(int64(len(b)), s.size-off)))
	clear(b[:n])
	for at, piece := range s.pieces {
		for i := range len(piece) {
			if p := at + int64(i) - off; p >= 0 && p < int64(n) {
				b[p] = piece[i]
			}
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

const gib = 1 << 30

// The UUIDs of this process's file systems: the kernel knows the mounted ones
// of the whole machine, those of another test run included.
var (
	testUUID  = UUIDFor(fmt.Sprint("test ", os.Getpid(), time.Now().UnixNano()))
	otherUUID = UUIDFor(fmt.Sprint("other ", os.Getpid(), time.Now().UnixNano()))
)

func TestProbeBlank(t *testing.T) {
	for _, size := range []int64{1, 511, 512, 513, 4096, 4097, edge - 1, edge, edge + 1, 2 * edge, 2*edge + 3, 300<<20 + 17, gib, 5 * gib, 4<<40 + 512} {
		c, err := Probe(sparse{size: size}, size, testUUID)
		if err != nil || c.Kind != Blank {
			t.Errorf("%d bytes: %+v, %v", size, c, err)
		}
	}
}

// One byte anywhere that is read makes a device foreign.
func TestProbeOneByte(t *testing.T) {
	const size = 5 * gib
	group := int64(size/4096+3) / 4 * 4096
	for name, at := range map[string]int64{
		"first":            0,
		"end of head":      edge - 1,
		"start of tail":    size - edge,
		"last":             size - 1,
		"second group":     group,
		"third group":      2*group + 5,
		"fourth group":     3*group + 4095,
		"sample at a half": size / 2,
		"sample at 1/64":   size/64&^4095 + 100,
	} {
		c, err := Probe(sparse{size: size, pieces: pieces{at: "\x01"}}, size, "")
		if err != nil || c.Kind != Foreign || !strings.Contains(c.What, "unknown data at byte") {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for size := int64(1); size < 70; size++ {
		c, err := Probe(sparse{size: size, pieces: pieces{size - 1: "\x80"}}, size, "")
		if err != nil || c.Kind != Foreign {
			t.Errorf("last of %d bytes: %+v, %v", size, c, err)
		}
	}
}

func TestProbeGroupsOfLargeDevices(t *testing.T) {
	const size = 6 << 40
	at := int64(1<<40/4096-1) * 4096
	c, err := Probe(sparse{size: size, pieces: pieces{2 * at: "XFSB"}}, size, "")
	if err != nil || c.Kind != Foreign || !strings.Contains(c.What, "first superblock is gone") {
		t.Errorf("%+v, %v", c, err)
	}
}

// Nothing that could not be read counts as blank.
func TestProbeReadErrors(t *testing.T) {
	const size = gib
	for _, failAt := range []int64{1, 4096, edge - 1, size / 2, size - 1} {
		c, err := Probe(sparse{size: size, failAt: failAt}, size, "")
		if !errors.Is(err, errMedium) || c.Kind != 0 {
			t.Errorf("failing at %d: %+v, %v", failAt, c, err)
		}
	}
	// A device shorter than it says.
	if c, err := Probe(sparse{size: size - 1}, size, ""); !errors.Is(err, io.ErrUnexpectedEOF) || c.Kind != 0 {
		t.Errorf("short device: %+v, %v", c, err)
	}
	for _, size := range []int64{0, -1} {
		if c, err := Probe(sparse{}, size, ""); err == nil || c.Kind != 0 {
			t.Errorf("%d bytes: %+v, %v", size, c, err)
		}
	}
}

// craft makes the sector of a sound superblock.
func craft(uuid string, change func(b []byte)) []byte {
	b := make([]byte, 512)
	be := binary.BigEndian
	copy(b, superblockMagic)
	be.PutUint32(b[0x04:], 4096)
	be.PutUint64(b[0x08:], 81920)
	if _, err := hex.Decode(b[0x20:], []byte(strings.ReplaceAll(uuid, "-", ""))); err != nil {
		panic(err)
	}
	be.PutUint32(b[0x54:], 20480)
	be.PutUint32(b[0x58:], 4)
	be.PutUint16(b[0x64:], 0xb4a5)
	be.PutUint16(b[0x66:], 512)
	copy(b[0x6c:], "codepen-app")
	b[0x78], b[0x79], b[0x7c] = 12, 9, 15
	if change != nil {
		change(b)
	}
	binary.LittleEndian.PutUint32(b[crcOffset:], checksum(b))
	return b
}

func TestParseSuperblock(t *testing.T) {
	sb, err := ParseSuperblock(craft(testUUID, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := Superblock{UUID: testUUID, Label: "codepen-app", BlockSize: 4096, DataBlocks: 81920, AGBlocks: 20480, AGCount: 4, SectorSize: 512, Version: 5, agLog: 15}
	if sb != want {
		t.Errorf("got  %+v\nwant %+v", sb, want)
	}
	v4 := craft(testUUID, func(b []byte) { b[0x65] = 0xa4 })
	clear(v4[crcOffset : crcOffset+4])
	if sb, err := ParseSuperblock(v4); err != nil || sb.Version != 4 {
		t.Errorf("version 4: %+v, %v", sb, err)
	}
	be := binary.BigEndian
	for name, test := range map[string]struct {
		change func(b []byte)
		want   error
	}{
		"magic":               {func(b []byte) { b[0] = 'Y' }, errNoMagic},
		"version":             {func(b []byte) { b[0x65] = 0xa6 }, errVersion},
		"block size":          {func(b []byte) { be.PutUint32(b[0x04:], 4095) }, errGeometry},
		"block size log":      {func(b []byte) { b[0x78] = 11 }, errGeometry},
		"sector size":         {func(b []byte) { be.PutUint16(b[0x66:], 0) }, errGeometry},
		"sector over block":   {func(b []byte) { be.PutUint16(b[0x66:], 8192); b[0x79] = 13 }, errGeometry},
		"tiny groups":         {func(b []byte) { be.PutUint32(b[0x54:], 63) }, errGeometry},
		"group log":           {func(b []byte) { b[0x7c] = 14 }, errGeometry},
		"no groups":           {func(b []byte) { be.PutUint32(b[0x58:], 0) }, errGeometry},
		"too many blocks":     {func(b []byte) { be.PutUint64(b[0x08:], 81921) }, errGeometry},
		"too few blocks":      {func(b []byte) { be.PutUint64(b[0x08:], 3*20480) }, errGeometry},
		"sound but different": {func(b []byte) { b[0x6c] = 'X' }, nil},
	} {
		if _, err := ParseSuperblock(craft(testUUID, test.change)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	sound := craft(testUUID, nil)
	for i := range sound {
		torn := bytes.Clone(sound)
		torn[i] ^= 0x10
		if _, err := ParseSuperblock(torn); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
	}
	for n := range len(sound) {
		if _, err := ParseSuperblock(sound[:n]); err == nil {
			t.Errorf("only %d bytes: accepted", n)
		}
	}
}

func TestProbeXFS(t *testing.T) {
	const size = 320 << 20
	inProgress := func(b []byte) { b[0x7e] = 1 }
	torn := craft(testUUID, nil)
	torn[0x6c] = 'X'
	for name, test := range map[string]struct {
		sector []byte
		ours   string
		want   Kind
		what   string
	}{
		"whole":               {craft(testUUID, nil), "", XFS, `XFS "codepen-app"`},
		"whole, ours":         {craft(testUUID, nil), testUUID, XFS, "XFS"},
		"unfinished, ours":    {craft(testUUID, inProgress), testUUID, Unfinished, "our own unfinished XFS"},
		"unfinished, other's": {craft(testUUID, inProgress), otherUUID, Foreign, "not ours"},
		"unfinished, no ours": {craft(testUUID, inProgress), "", Foreign, "not ours"},
		"torn":                {torn, testUUID, Foreign, "checksum wrong"},
		"cut":                 {craft(testUUID, nil)[:100], testUUID, Foreign, "XFS, superblock"},
	} {
		c, err := Probe(sparse{size: size, pieces: pieces{0: string(test.sector)}}, size, test.ours)
		if err != nil || c.Kind != test.want || !strings.Contains(c.What, test.what) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	// A zeroed first superblock is never taken for our own unfinished work.
	c, err := Probe(sparse{size: size, pieces: pieces{20480 * 4096: string(craft(testUUID, inProgress))}}, size, testUUID)
	if err != nil || c.Kind != Foreign {
		t.Errorf("only a copy: %+v, %v", c, err)
	}
}

func TestGrowing(t *testing.T) {
	sb := Superblock{BlockSize: 4096, DataBlocks: 1000}
	for _, test := range []struct {
		size          int64
		grows, beyond bool
	}{
		{0, false, true},
		{999 * 4096, false, true},
		{1000*4096 - 1, false, true},
		{1000 * 4096, false, false},
		{1064*4096 - 1, false, false},
		{1064 * 4096, true, false},
	} {
		if got := NeedsGrow(sb, test.size); got != test.grows {
			t.Errorf("NeedsGrow to %d: %v", test.size, got)
		}
		if got := LargerThan(sb, test.size); got != test.beyond {
			t.Errorf("LargerThan %d: %v", test.size, got)
		}
	}
}

// Every UUID ever made must stay what it was.
func TestUUIDFor(t *testing.T) {
	const want = "f2fc6c8f-cfd0-52eb-af6c-aa6562e1285f"
	if got := UUIDFor("vol-0123456789abcdef0"); got != want {
		t.Errorf("UUIDFor = %s, want %s", got, want)
	}
	if UUIDFor("vol-0123456789abcdef0") == UUIDFor("vol-0123456789abcdef1") {
		t.Error("two volumes, one UUID")
	}
}

func FuzzProbe(f *testing.F) {
	f.Add(craft(testUUID, nil), int64(320<<20), int64(0))
	f.Add([]byte("XFSB"), int64(4097), int64(4090))
	f.Add([]byte("LABELONE"), int64(513), int64(512))
	f.Add([]byte{0}, int64(1), int64(0))
	f.Add([]byte("\x55\xaa"), int64(9<<20), int64(510))
	f.Fuzz(func(t *testing.T, piece []byte, size, at int64) {
		size &= 1<<43 - 1
		if size > 0 {
			at = max(0, at) % size
		}
		d := sparse{size: size, pieces: pieces{at: string(piece)}}
		c, err := Probe(d, size, testUUID)
		if err != nil {
			if size > 0 {
				t.Fatal(err)
			}
			return
		}
		first := bytes.IndexFunc(piece, func(r rune) bool { return r != 0 })
		if where := at + int64(first); first >= 0 && where < size && (where < edge || where >= size-edge) && c.Kind == Blank {
			t.Fatalf("blank, with data at %d of %d", where, size)
		}
		if (c.Kind == XFS || c.Kind == Unfinished) && (c.XFS == nil || !bytes.HasPrefix(piece, []byte(superblockMagic))) {
			t.Fatalf("%+v from %q", c, piece)
		}
	})
}

func FuzzParseSuperblock(f *testing.F) {
	f.Add(craft(testUUID, nil))
	f.Add(craft(testUUID, func(b []byte) { b[0x65] = 0xa4 }))
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sb, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		if sb.Size() <= 0 || uint64(sb.AGCount)*uint64(sb.AGBlocks) < sb.DataBlocks {
			t.Fatalf("%+v", sb)
		}
	})
}
