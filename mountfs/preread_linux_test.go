package mountfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"snapsource/mountfs/looptest"
)

// blocksRead returns the blocks of EBS of which an image has pages in the page cache.
func blocksRead(t *testing.T, image string) map[int64]bool {
	t.Helper()
	f := open(t, image)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	cached, err := CachedRanges(t.Context(), f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[int64]bool{}
	for _, r := range cached {
		for block := r.Start / EBSBlock; block*EBSBlock < r.End(); block++ {
			blocks[block] = true
		}
	}
	return blocks
}

// TestPrereadCovers: Preread reads every block of EBS that a mount then reads.
func TestPrereadCovers(t *testing.T) {
	needRoot(t)
	for format, args := range map[string][]string{
		"default":    nil,
		"rmapbt=0":   {"-m", "rmapbt=0,reflink=0,finobt=0", "-i", "sparse=0"},
		"rmapbt=1":   {"-m", "rmapbt=1,reflink=1"},
		"bs=1024":    {"-b", "size=1024"},
		"sectors":    {"-s", "size=4096"},
		"large log":  {"-l", "size=160m"},
		"many small": {"-d", "agcount=14"},
	} {
		t.Run(format, func(t *testing.T) {
			d, mountpoint := formatted(t, 1024*mib, args...)
			smallFiles(t, mountpoint)
			fragments(t, mountpoint)
			image := backing(t, d.Node)
			f, _ := freeze(t, mountpoint, time.Minute)
			frozen := copied(t, image)
			if _, err := f.Thaw(); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(mountpoint, "last"), []byte("unsynced"))
			work(t, mountpoint, 50)
			torn := copied(t, image)
			unmount(t, mountpoint)
			for state, image := range map[string]string{"clean": image, "frozen": frozen, "torn": torn} {
				missing := prereadMisses(t, state, image)
				// Replaying a log reads what it changes, anywhere.
				if missing > 0 && state != "torn" {
					t.Errorf("%s: %d blocks are missing", state, missing)
				}
			}
		})
	}
}

// prereadMisses returns how many of the blocks that a mount reads Preread does not read.
func prereadMisses(t *testing.T, state, image string) (missing int) {
	t.Helper()
	before, after := copied(t, image), copied(t, image)
	d := device(t, looptest.AttachUncached(t, before))
	mountpoint := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, mountpoint)
	unmounted := blocksRead(t, before)
	unmount(t, mountpoint)

	d = device(t, looptest.AttachUncached(t, after))
	if n := len(blocksRead(t, after)); n > 1 {
		t.Fatalf("%d blocks are read before anything", n)
	}
	began := time.Now()
	if err := Preread(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	read := blocksRead(t, after)
	for block := range unmounted {
		if !read[block] {
			missing++
			t.Logf("%s: block %d is read by the mount alone", state, block)
		}
	}
	t.Logf("%s: a mount reads %d blocks, %d of them not before; Preread reads %d in %s", state, len(unmounted), missing, len(read), took)
	return missing
}

// backing returns the file of a loop device.
func backing(t *testing.T, node string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(node), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	return attributeText(b)
}

func TestPrereadErrors(t *testing.T) {
	needRoot(t)
	d, _ := loopDevice(t, testSize)
	if err := Preread(t.Context(), d); err != nil {
		t.Errorf("a blank device: %v", err)
	}
	format(t, d, testUUID)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Preread(ctx, d); err != nil {
		t.Errorf("the end of ctx: %v", err)
	}
	other := d
	other.Size += 4096
	wantError(t, Preread(t.Context(), other), ErrWrongDevice)
	other = d
	other.Node += "-missing"
	wantError(t, Preread(t.Context(), other), os.ErrNotExist)
}
