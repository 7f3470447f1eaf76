package mountfs

import (
	"path/filepath"
	"testing"

	"snapsource/mountfs/looptest"
)

func TestGrow(t *testing.T) {
	needRoot(t)
	d, image := xfsDevice(t, testSize, testUUID)
	mountpoint := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, mountpoint)
	g, err := Geometry(mountpoint)
	if err != nil || g.UUID != testUUID || g.Size() != testSize || g.BlockSize != 4096 || g.ImaxPct == 0 {
		t.Fatalf("%+v, %v", g, err)
	}
	// Never smaller, and not by less than an allocation group can have.
	for _, size := range []int64{0, testSize / 2, testSize, testSize + 63*4096} {
		if before, after, err := Grow(mountpoint, size); before != testSize || after != testSize || err != nil {
			t.Errorf("to %d: %d, %d, %v", size, before, after, err)
		}
	}
	const larger = testSize + 128*mib
	// Beyond the device the kernel fails, and the size stays.
	if before, after, err := Grow(mountpoint, larger); err == nil || before != testSize || after != testSize {
		t.Errorf("beyond: %d, %d, %v", before, after, err)
	}
	looptest.Resize(t, d.Node, image, larger)
	if before, after, err := Grow(mountpoint, larger); before != testSize || after != larger || err != nil {
		t.Errorf("%d, %d, %v", before, after, err)
	}
	if grown, err := Geometry(mountpoint); err != nil || grown.Size() != larger || grown.ImaxPct != g.ImaxPct {
		t.Errorf("%+v, %v", grown, err)
	}
	if before, after, err := Grow(mountpoint, larger); before != larger || after != larger || err != nil {
		t.Errorf("again: %d, %d, %v", before, after, err)
	}
}

func TestGeometryOfOther(t *testing.T) {
	if _, err := Geometry("/proc"); err == nil {
		t.Error("proc is no XFS")
	}
	if _, _, err := Grow("/proc", 1<<40); err == nil {
		t.Error("proc can't grow")
	}
}
