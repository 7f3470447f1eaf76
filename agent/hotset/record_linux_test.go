package hotset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"snapsource/mountfs"
)

// TestRecord: what is cached, where it lies, and in which order.
func TestRecord(t *testing.T) {
	v := newVolume(t, 320*mib)
	for _, name := range []string{"a/part", "a/b/more", "a/b/c/whole", "cold/cold", "open"} {
		v.write(name, 100*page+17)
	}
	v.cool()
	v.read("a/part", 3*page, 2*page)
	v.read("a/part", 50*page+5, 1)
	v.read("a/b/more", 0, 80*page)
	v.read("a/b/c/whole", 0, 100*page+17)
	v.read("open", 100*page, 17)
	f, err := os.Open(v.path("open"))
	if err != nil {
		t.Fatal(err)
	}
	sum := v.record(Options{})
	f.Close()
	s := v.load()
	v.wantFiles(s, "open", "a/b/c/whole", "a/b/more", "a/part")
	want := ranges(3*page, 2*page, 50*page, page)
	if diff := cmp.Diff(want, s.Files[3].Ranges); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(ranges(100*page, 17), s.Files[0].Ranges); diff != "" {
		t.Error(diff)
	}
	wantBytes := int64(17 + 100*page + 17 + 80*page + 3*page)
	if sum.Files != 4 || sum.Bytes != wantBytes || !sum.Complete || sum.ByHand != 0 || sum.Size == 0 || sum.Skipped != "" {
		t.Errorf("%+v, want %d bytes", sum, wantBytes)
	}
	if !s.Complete || s.ByHand || s.Size != v.size() || time.Since(s.Recorded) > time.Minute {
		t.Errorf("%+v", s)
	}
	v.wantMetadata(s, ".", "a", "a/b", "a/b/c", "a/part", "open")
	for path, mode := range map[string]os.FileMode{Dir: os.ModeDir | 0o700, Dir + "/" + Name: 0o600} {
		st, err := os.Lstat(v.path(path))
		if err != nil || st.Mode() != mode {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	// It is the same after a restart, when nothing is cached: no record replaces it.
	v.remount()
	v.cool()
	if sum := v.record(Options{}); sum.Skipped == "" || sum.Size != 0 || sum.Files != 0 {
		t.Errorf("nothing is cached: %+v", sum)
	}
	if diff := cmp.Diff(s, v.load()); diff != "" {
		t.Error(diff)
	}
}

// wantMetadata checks that the inodes of files and directories, and the directories' blocks, are
// in the record.
func (v volume) wantMetadata(s Set, names ...string) {
	v.t.Helper()
	for _, name := range names {
		f, err := os.Open(v.path(name))
		if err != nil {
			v.t.Fatal(err)
		}
		inodes, err := mountfs.InodesOf(f)
		if err != nil {
			v.t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			v.t.Fatal(err)
		}
		want := []mountfs.Range{inodes.Range(st.Ino)}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			blocks, err := mountfs.BlockRanges(f, nil)
			if err != nil {
				v.t.Fatal(err)
			}
			want = mountfs.MergeRanges(append(want, blocks...))
		}
		if missing := mountfs.SubtractRanges(want, s.Metadata); len(missing) > 0 {
			v.t.Errorf("%s: %v are missing in %v", name, missing, s.Metadata)
		}
		f.Close()
	}
}

// TestRecordByHand: files of a record made by hand come first in all later ones.
func TestRecordByHand(t *testing.T) {
	v := newVolume(t, 320*mib)
	for _, name := range []string{"d/first", "d/gone", "d/other", "d/shrunk", "later"} {
		v.write(name, 10*page)
	}
	v.cool()
	for _, name := range []string{"d/first", "d/gone", "d/other", "d/shrunk"} {
		v.read(name, 2*page, 4*page)
	}
	if sum := v.record(Options{ByHand: true}); sum.ByHand != 4 {
		t.Errorf("%+v", sum)
	}
	v.wantFiles(v.load(), "d/first", "d/gone", "d/other", "d/shrunk")
	v.cool()
	if err := errors.Join(os.Remove(v.path("d/gone")), os.Rename(v.path("d/other"), v.path("d/kept")), os.Truncate(v.path("d/shrunk"), 3*page)); err != nil {
		t.Fatal(err)
	}
	v.write("d/other", 10*page) // another file
	v.cool()
	v.read("later", 0, 10*page)
	v.read("d/first", 5*page, 2*page)
	for range 2 { // the second is by no hand after one by no hand
		sum := v.record(Options{})
		s := v.load()
		v.wantFiles(s, "d/first", "d/shrunk", "later", "d/first")
		if sum.ByHand != 2 || s.ByHand || !s.Files[0].ByHand || s.Files[2].ByHand || s.Files[3].ByHand {
			t.Errorf("%+v of %+v", sum, s)
		}
		if diff := cmp.Diff([][]mountfs.Range{ranges(2*page, 4*page), ranges(2*page, page), ranges(0, 10*page), ranges(6*page, page)},
			[][]mountfs.Range{s.Files[0].Ranges, s.Files[1].Ranges, s.Files[2].Ranges, s.Files[3].Ranges}); diff != "" {
			t.Error(diff)
		}
		v.wantMetadata(s, "d", "d/first", "later")
	}
	// A new one by hand replaces all.
	v.cool()
	v.read("later", 0, page)
	v.record(Options{ByHand: true})
	if s := v.load(); !s.ByHand || len(s.Files) != 1 || !s.Files[0].ByHand {
		t.Errorf("%+v", s)
	}
}

// TestRecordIncomplete: what the time does not suffice for is kept from the record before.
func TestRecordIncomplete(t *testing.T) {
	v := newVolume(t, 320*mib)
	v.write("file", 10*page)
	if sum := v.record(Options{}); !sum.Complete || sum.Files != 1 {
		t.Errorf("%+v", sum)
	}
	before := v.load()
	v.cool()
	sum := v.record(Options{Limit: time.Nanosecond})
	s := v.load()
	if sum.Complete || s.Complete || sum.Files != 1 {
		t.Errorf("%+v", sum)
	}
	if diff := cmp.Diff(before.Files, s.Files); diff != "" {
		t.Error(diff)
	}
}

// TestRecordMost: the record has as many files as fit.
func TestRecordMost(t *testing.T) {
	v := newVolume(t, 320*mib)
	for i := range 500 {
		v.write(fmt.Sprintf("a directory/with a rather long name/file %d", i), page)
	}
	const most = 4000
	sum := v.record(Options{Max: most})
	if sum.Size > most || sum.Size < most/2 || sum.Complete || sum.Files == 0 || sum.Files >= 500 {
		t.Errorf("%+v", sum)
	}
	if n := len(v.load().Files); n != sum.Files {
		t.Errorf("%d files, told %d", n, sum.Files)
	}
}

func TestRecordReadOnly(t *testing.T) {
	v := newVolume(t, 320*mib)
	v.write("file", page)
	v.unmount()
	v.mount(unix.MS_RDONLY)
	v.read("file", 0, page)
	if sum := v.record(Options{}); sum.Skipped == "" || sum.Size != 0 {
		t.Errorf("%+v", sum)
	}
	if _, ok, err := Load(v.mountpoint, v.size()); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// TestRecordFrozen: it does not begin on a file system that is frozen, and on one that is frozen
// meanwhile it ends without an answer of the kernel.
func TestRecordFrozen(t *testing.T) {
	v := newVolume(t, 320*mib)
	v.write("file", page)
	if err := mountfs.Flush(v.mountpoint); err != nil {
		t.Fatal(err)
	}
	root, err := openMountpoint(v.mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	const freeze, thaw = 0xc0045877, 0xc0045878
	if err := unix.IoctlSetInt(int(root.Fd()), freeze, 0); err != nil {
		t.Fatal(err)
	}
	thawed := false
	defer func() {
		if !thawed {
			unix.IoctlSetInt(int(root.Fd()), thaw, 0)
		}
	}()
	if _, err = Record(t.Context(), v.mountpoint, Options{}); !errors.Is(err, mountfs.ErrBusy) {
		t.Errorf("frozen before: %v", err)
	}
	// The walk must reach the file within the limit also on a busy machine: else there is nothing to write.
	_, err = record(t.Context(), v.mountpoint, Options{Limit: 2 * time.Second})
	if !errors.Is(err, ErrTooSlow) {
		t.Errorf("frozen: %v", err)
	}
	thawed = true
	if err := unix.IoctlSetInt(int(root.Fd()), thaw, 0); err != nil {
		t.Fatal(err)
	}
	root.Close()
	// The call that had no answer goes on: until then the file system is in use.
	end := time.Now().Add(10 * time.Second)
	for unix.Unmount(v.mountpoint, 0) != nil {
		if time.Now().After(end) {
			t.Fatal("in use for 10 s after the thaw")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestRecordGivenUp: after it has given up, nothing is written.
func TestRecordGivenUp(t *testing.T) {
	v := newVolume(t, 320*mib)
	v.write("file", page)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	if _, err := Record(ctx, v.mountpoint, Options{}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	r := &recording{flushed: make(chan struct{})}
	if !r.gate.close() {
		t.Fatal("it is being written before it began")
	}
	if err := r.run(t.Context(), v.mountpoint); !errors.Is(err, ErrTooSlow) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(v.path(Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("written in spite of that: %v", err)
	}
}

// TestGiveUp: what is being written is waited for; else nothing is written.
func TestGiveUp(t *testing.T) {
	why := errors.New("too late")
	done := make(chan error, 1)
	var looking, writing recording
	if err := looking.giveUp(done, why); !errors.Is(err, why) || looking.gate.enter() {
		t.Errorf("while it looked: %v", err)
	}
	writing.gate.enter()
	done <- nil
	if err := writing.giveUp(done, why); err != nil {
		t.Errorf("while it was written: %v", err)
	}
}
