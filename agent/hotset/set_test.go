package hotset

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snapsource/mountfs"
)

const deviceSize = 1 << 40

func ranges(numbers ...int64) (list []mountfs.Range) {
	for i := 0; i < len(numbers); i += 2 {
		list = append(list, mountfs.Range{Start: numbers[i], Length: numbers[i+1]})
	}
	return list
}

func example() Set {
	at := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	return Set{
		Recorded: at, ByHand: true, Complete: true, Size: 5 << 30,
		Metadata: ranges(65536, 16384, 1<<20, 4096),
		Files: []File{
			{Path: "codepen/current/app/models/user.rb", Inode: 131, Size: 10_000, Modified: at.Add(-time.Hour), ByHand: true,
				Ranges: ranges(0, 10_000), Blocks: ranges(4<<20, 8192, 2<<20, 1808)},
			{Path: "codepen/current/app/models/view.rb", Inode: 1<<63 + 5, Size: 1 << 40, Modified: at.Add(-3000 * time.Hour),
				Ranges: ranges(4096, 4096, 1<<39, 8192), Blocks: ranges(1<<40-4096, 4096)},
			{Path: "ü", Inode: 7, Size: 1, Modified: time.Unix(0, -5), Ranges: ranges(0, 1), Blocks: ranges(0, 1)},
		},
	}
}

// encode returns the record of a set.
func encode(s Set) []byte {
	var e encoder
	for i := range s.Files {
		e.add(&s.Files[i], MaxBytes)
	}
	return e.finish(&s)
}

func TestEncode(t *testing.T) {
	for name, s := range map[string]Set{"example": example(), "empty": {Recorded: time.Unix(0, 0)}} {
		got, err := Decode(encode(s), deviceSize)
		if diff := cmp.Diff(s, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// TestEncodeMost: what does not fit is left out, and the rest is as it was.
func TestEncodeMost(t *testing.T) {
	var e encoder
	files := example().Files
	if !e.add(&files[0], MaxBytes) || e.add(&files[1], len(e.files)+10) || !e.add(&files[2], MaxBytes) {
		t.Fatal("not the files that fit")
	}
	got, err := Decode(e.finish(&Set{}), deviceSize)
	if diff := cmp.Diff([]File{files[0], files[2]}, got.Files); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// sealed is a record with this payload and a right checksum.
func sealed(numbers ...any) []byte {
	b := []byte(magic)
	for _, n := range numbers {
		switch n := n.(type) {
		case int:
			b = binary.AppendUvarint(b, uint64(n))
		case string:
			b = append(b, n...)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func path(p string) Set {
	return Set{Recorded: time.Unix(0, 0), Files: []File{{Path: p, Modified: time.Unix(0, 0)}}}
}

func TestDecodeInvalid(t *testing.T) {
	good := encode(example())
	flipped := append([]byte{}, good...)
	flipped[40] ^= 1
	for name, data := range map[string][]byte{
		"empty":                    nil,
		"short":                    []byte(magic),
		"another version":          append([]byte("snapsource hot 2\n"), good[len(magic):]...),
		"changed":                  flipped,
		"cut":                      good[:len(good)-5],
		"too long":                 append(good, make([]byte, MaxBytes)...),
		"nothing in it":            sealed(),
		"bytes at the end":         sealed(0, 0, 0, 0, 0, 5),
		"unknown flags":            sealed(0, 4, 0, 0, 0),
		"larger than the device":   sealed(0, 0, deviceSize+1, 0, 0),
		"many ranges":              sealed(0, 0, 0, 1<<40, 0, 0),
		"many files":               sealed(0, 0, 0, 0, 1<<50),
		"outside the device":       encode(Set{Metadata: ranges(deviceSize, 1)}),
		"across its end":           encode(Set{Metadata: ranges(deviceSize-1, 2)}),
		"before it":                encode(Set{Metadata: ranges(-1, 1)}),
		"shares too much":          sealed(0, 0, 0, 0, 1, 1, 1, "a", 1, 1, 0, 0, 0, 0),
		"path longer than it is":   sealed(0, 0, 0, 0, 1, 0, 1<<30, "a", 1, 1, 0, 0, 0, 0),
		"range outside the file":   encode(Set{Files: []File{{Path: "a", Size: 10, Ranges: ranges(5, 6)}}}),
		"ranges overlap":           encode(Set{Files: []File{{Path: "a", Size: 10, Ranges: ranges(5, 3, 7, 1)}}}),
		"blocks outside":           encode(Set{Files: []File{{Path: "a", Size: 10, Blocks: ranges(deviceSize+9, 1)}}}),
		"absolute":                 encode(path("/etc/passwd")),
		"no path":                  encode(path("")),
		"above":                    encode(path("../etc/passwd")),
		"above, in the middle":     encode(path("a/../../b")),
		"the directory itself":     encode(path(".")),
		"slash at the end":         encode(path("a/")),
		"NUL":                      encode(path("a\x00b")),
		"name too long":            encode(path(strings.Repeat("x", 256))),
		"path too long":            encode(path(strings.Repeat("x/", 2048) + "x")),
		"paths of gigabytes in it": bomb(),
	} {
		if s, err := Decode(data, deviceSize); err == nil {
			t.Errorf("%s: %d files", name, len(s.Files))
		}
	}
}

// bomb is a small record of many long paths.
func bomb() []byte {
	long := strings.Repeat(strings.Repeat("x", 250)+"/", 16)
	var e encoder
	for i := range 20_000 {
		e.paths = 0
		e.add(&File{Path: long + string(rune('a'+i%2))}, MaxBytes)
	}
	return e.finish(&Set{})
}

// TestMany: a record of more files or ranges than are permitted is refused, and none is made.
func TestMany(t *testing.T) {
	var many encoder
	for many.add(&File{Path: "a"}, MaxBytes) {
	}
	if many.count != maxFiles {
		t.Errorf("%d files in a record", many.count)
	}
	var ranged encoder
	for ranged.add(&File{Path: "a", Size: 100, Ranges: ranges(0, 1, 2, 1), Blocks: ranges(0, 1, 2, 1)}, MaxBytes) {
	}
	if ranged.ranges > maxRanges || ranged.ranges < maxRanges-4 {
		t.Errorf("%d ranges in a record", ranged.ranges)
	}
	if _, err := Decode(ranged.finish(&Set{}), deviceSize); err != nil {
		t.Error(err)
	}
	ranged.count++
	ranged.files = append(ranged.files, ranged.files[:len(ranged.files)/ranged.count]...)
	if _, err := Decode(ranged.finish(&Set{Metadata: make([]mountfs.Range, maxRanges)}), deviceSize); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many ranges: %v", err)
	}
}

// FuzzDecode: what is decoded is within its bounds, and is encoded as it was.
func FuzzDecode(f *testing.F) {
	for _, s := range []Set{{}, example(), path("a/b")} {
		b := encode(s)
		f.Add(b[len(magic) : len(b)-crc32.Size])
	}
	f.Add([]byte("\xb00\x030\x020000\x03\x00\"000000000000000000000000000000000")) // a path of one byte more than there are
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := Decode(sealed(string(payload)), deviceSize)
		if err != nil {
			return
		}
		again, err := Decode(encode(s), deviceSize)
		if diff := cmp.Diff(s, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		blocks := s.Metadata
		for _, file := range s.Files {
			blocks = append(blocks, file.Blocks...)
		}
		for _, r := range blocks {
			if r.Start < 0 || r.Length < 0 || r.End() > deviceSize {
				t.Errorf("%v", r)
			}
		}
		for _, file := range s.Files {
			end := int64(0)
			for _, r := range file.Ranges {
				if r.Start < end || r.Length < 0 || r.End() > file.Size {
					t.Errorf("%s of %d bytes: %v", file.Path, file.Size, file.Ranges)
				}
				end = r.End()
			}
		}
	})
}
