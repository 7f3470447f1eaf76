//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func TestCopyImage(t *testing.T) {
	for name, content := range map[string][]byte{
		"empty":          nil,
		"zeros":          make([]byte, 3*chunkSize),
		"a block":        bytes.Repeat([]byte("x"), blockSize),
		"odd length":     bytes.Repeat([]byte("y"), chunkSize+17),
		"across a chunk": append(make([]byte, chunkSize-100), bytes.Repeat([]byte("z"), 200)...),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			if err := os.WriteFile(from, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := snapshotImage(context.Background(), to, from, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the copy has %d bytes and differs from the %d of the original (%v)", len(got), len(content), err)
			}
		})
	}
}

// TestPatch changes an image at random places, zeros included, and expects that
// patch finds all of them and then nothing.
func TestPatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	const size = 5 * chunkSize
	for _, f := range []*os.File{src, dst} {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 50 {
		piece := make([]byte, 1+random.IntN(3*blockSize))
		if round%3 > 0 {
			for i := range piece {
				piece[i] = byte(random.Uint32())
			}
		}
		if _, err := src.WriteAt(piece, random.Int64N(size-int64(len(piece)))); err != nil {
			t.Fatal(err)
		}
		if _, err := patch(t.Context(), dst, src); err != nil {
			t.Fatal(err)
		}
		if n, err := patch(t.Context(), dst, src); n != 0 || err != nil {
			t.Fatalf("round %d: the second patch changed %d bytes (%v)", round, n, err)
		}
		want, _ := os.ReadFile(src.Name())
		got, err := os.ReadFile(dst.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: the copy differs (%v)", round, err)
		}
	}
}

// TestCopyIsOneInstant copies an image while a writer counts at its beginning
// and then at its end, in bursts. At no instant are the two more than one apart,
// or the end ahead.
func TestCopyIsOneInstant(t *testing.T) {
	const size = 16 * chunkSize
	for round := range 20 {
		dir := t.TempDir()
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		if err := os.WriteFile(from, bytes.Repeat([]byte("data"), size/4), 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := os.OpenFile(from, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		started, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			number := make([]byte, 8)
			for n := range uint64(20000) {
				binary.LittleEndian.PutUint64(number, n)
				for _, at := range []int64{0, size - blockSize} {
					if _, err := src.WriteAt(number, at); err != nil {
						t.Error(err)
						return
					}
				}
				if n == 100 {
					close(started)
				}
			}
		}()
		<-started
		err = snapshotImage(t.Context(), to, from, nil)
		<-ended
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := binary.LittleEndian.Uint64(got), binary.LittleEndian.Uint64(got[size-blockSize:])
		if begin != end && begin != end+1 {
			t.Fatalf("round %d: the copy has %d at its beginning and %d at its end", round, begin, end)
		}
	}
}
