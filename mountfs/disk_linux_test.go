package mountfs

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/mountfs/looptest"
)

func TestFormat(t *testing.T) {
	needRoot(t)
	d, _ := loopDevice(t, testSize)
	disk := openDisk(t, d)
	defer disk.Close()
	if c, err := disk.Probe(testUUID); err != nil || c.Kind != Blank {
		t.Fatalf("before: %+v, %v", c, err)
	}
	if err := disk.Format(t.Context(), Format{UUID: testUUID, Label: "codepen-app-staging"}); err != nil {
		t.Fatal(err)
	}
	c, err := disk.Probe(testUUID)
	if err != nil || c.Kind != XFS || c.XFS.UUID != testUUID || c.XFS.Label != "codepen-app-" || c.XFS.Size() != testSize {
		t.Fatalf("after: %+v %+v, %v", c, c.XFS, err)
	}
	// Whole now, and so no longer to be formatted, not even by us.
	before := sum(t, d.Node)
	wantError(t, disk.Format(t.Context(), Format{UUID: testUUID}), ErrRefused)
	if sum(t, d.Node) != before {
		t.Error("refused, and changed")
	}
}

// unfinish turns a whole XFS into what it was before mkfs.xfs's last write.
func unfinish(t *testing.T, node string) {
	t.Helper()
	b := peek(t, node, 0, 512)
	b[0x7e] = 1
	binary.LittleEndian.PutUint32(b[crcOffset:], checksum(b))
	poke(t, node, 0, b)
}

// What an mkfs.xfs of ours left unfinished is made again.
func TestFormatHalfMade(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	unfinish(t, d.Node)
	disk := openDisk(t, d)
	defer disk.Close()
	c, err := disk.Probe(testUUID)
	if err != nil || c.Kind != Unfinished {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := disk.Format(t.Context(), Format{UUID: testUUID}); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Probe(testUUID); err != nil || c.Kind != XFS {
		t.Fatalf("%+v, %v", c, err)
	}
}

// Clearing what is half-made may itself be stopped just before the end.
func TestFormatHalfCleared(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	unfinish(t, d.Node)
	poke(t, d.Node, 512, zeros(testSize-512))
	disk := openDisk(t, d)
	defer disk.Close()
	if c, err := disk.Probe(testUUID); err != nil || c.Kind != Unfinished {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := disk.Format(t.Context(), Format{UUID: testUUID}); err != nil {
		t.Fatal(err)
	}
}

// fakeMkfs puts a shell script first in PATH as mkfs.xfs.
func fakeMkfs(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mkfs.xfs"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFormatProgramFails(t *testing.T) {
	needRoot(t)
	d, _ := loopDevice(t, testSize)
	for _, test := range []struct {
		script string
		limit  time.Duration
		want   string
	}{
		{"echo no luck >&2; exit 3", time.Minute, "mkfs.xfs -q -m uuid=" + testUUID + " -L app -K " + d.Node + ": exit status 3: no luck"},
		{"exit 0", time.Minute, "the device holds blank"},
		{"exec sleep 1000", 50 * time.Millisecond, "deadline exceeded"},
	} {
		t.Run(test.script, func(t *testing.T) {
			fakeMkfs(t, test.script)
			disk := openDisk(t, d)
			defer disk.Close()
			ctx, cancel := context.WithTimeout(t.Context(), test.limit)
			defer cancel()
			err := disk.Format(ctx, Format{UUID: testUUID, Label: "app", Options: []string{"-K"}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v: want %q in it", err, test.want)
			}
		})
	}
}

// mkfs.xfs is killed at ever later moments; Format can always go on.
func TestFormatKilled(t *testing.T) {
	needRoot(t)
	d, _ := loopDevice(t, testSize)
	killed := 0
	for delay := time.Duration(0); ; delay += 500 * time.Microsecond {
		disk := openDisk(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		err := disk.Format(ctx, Format{UUID: testUUID})
		cancel()
		disk.Close()
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("after %v: %v", delay, err)
		}
		killed++
		disk = openDisk(t, d)
		c, err := disk.Probe(testUUID)
		disk.Close()
		if err != nil {
			t.Fatal(err)
		}
		switch c.Kind {
		case Blank, Unfinished:
		case XFS: // killed after its last write
			return
		default:
			t.Fatalf("killed after %v: %+v", delay, c)
		}
	}
	if killed == 0 {
		t.Error("mkfs.xfs was never killed")
	}
	mountXFS(t, d, filepath.Join(t.TempDir(), "cp"))
}

func TestFormatChecksFirst(t *testing.T) {
	needRoot(t)
	small, _ := loopDevice(t, mkfsMin-512)
	readOnly := device(t, looptest.AttachReadOnly(t, looptest.Image(t, testSize)))
	if !readOnly.ReadOnly {
		t.Fatal("not read-only")
	}
	whole, _ := loopDevice(t, testSize)
	for _, test := range []struct {
		name   string
		device Device
		format Format
		want   string
	}{
		{"small", small, Format{UUID: testUUID}, "needs 300"},
		{"read-only", readOnly, Format{UUID: testUUID}, "read-only"},
		{"no UUID", whole, Format{}, "not a UUID"},
		{"force", whole, Format{UUID: testUUID, Options: []string{"-Kf"}}, "not permitted"},
		{"bad option", whole, Format{UUID: testUUID, Options: []string{"-m", "nonsense=1"}}, "nonsense"},
	} {
		disk := openDisk(t, test.device)
		err := disk.Format(t.Context(), test.format)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if c, err := disk.Probe(testUUID); err != nil || c.Kind != Blank {
			t.Errorf("%s: %+v, %v", test.name, c, err)
		}
		disk.Close()
	}
}

func TestMkfsPath(t *testing.T) {
	want := needTool(t, "mkfs.xfs")
	t.Setenv("PATH", "/nonexistent")
	if got, err := MkfsPath(); err != nil || filepath.Base(got) != filepath.Base(want) {
		t.Errorf("with a short PATH: %q, %v", got, err)
	}
}

func TestMkfsMissing(t *testing.T) {
	needRoot(t)
	path, err := filepath.EvalSymlinks(needTool(t, "mkfs.xfs"))
	if err != nil {
		t.Fatal(err)
	}
	d, _ := loopDevice(t, testSize)
	cover(t, path)
	disk := openDisk(t, d)
	defer disk.Close()
	wantError(t, disk.Format(t.Context(), Format{UUID: testUUID}), ErrNoMkfs)
}

func TestOpenDiskMountedElsewhere(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	mountElsewhere(t, d.Node)
	_, err := OpenDisk(d)
	wantError(t, err, ErrBusy)
	if !strings.Contains(err.Error(), "another mount namespace") {
		t.Error(err)
	}
}

func TestOpenDisk(t *testing.T) {
	needRoot(t)
	d, image := xfsDevice(t, testSize, testUUID)
	for name, change := range map[string]func(*Device){
		"size":   func(d *Device) { d.Size-- },
		"minor":  func(d *Device) { d.Minor++ },
		"seq":    func(d *Device) { d.Seq++ },
		"a file": func(d *Device) { d.Node = image },
	} {
		other := d
		change(&other)
		if _, err := OpenDisk(other); !errors.Is(err, ErrWrongDevice) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenDisk(Device{Node: "/dev/snapsource-none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	target := filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, target)
	_, err := OpenDisk(d)
	wantError(t, err, ErrBusy)
	if !strings.Contains(err.Error(), "mounted at "+target) {
		t.Error(err)
	}
}

// The lock is udev's: exclusive, on the node itself.
func TestOpenDiskLocks(t *testing.T) {
	needRoot(t)
	d, _ := loopDevice(t, testSize)
	disk := openDisk(t, d)
	f, err := os.Open(d.Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("while open: %v", err)
	}
	disk.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{"": "", "app": "app", "codepen-app-x": "codepen-app-", "ääääääx": "ääääää", "xääääääx": "xäääää"} {
		if got := Label(name); got != want {
			t.Errorf("Label(%q) = %q, want %q", name, got, want)
		}
	}
}

// What proving a device blank costs beside the reads themselves.
func BenchmarkProbeBlank(b *testing.B) {
	needRoot(b)
	d, _ := loopDevice(b, 5*gib)
	disk := openDisk(b, d)
	defer disk.Close()
	for b.Loop() {
		if c, err := disk.Probe(testUUID); err != nil || c.Kind != Blank {
			b.Fatal(c, err)
		}
	}
}
