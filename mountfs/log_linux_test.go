package mountfs

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snapsource/mountfs/looptest"
)

// counting counts what is read through it.
type counting struct {
	io.ReaderAt
	reads, bytes int
}

func (c *counting) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, off)
	c.reads++
	c.bytes += n
	return n, err
}

// logOf reads the log of an image, and has xfs_logprint agree.
func logOf(t *testing.T, image string) (LogState, counting) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sb, err := readSuperblock(f)
	if err != nil {
		t.Fatal(err)
	}
	count := counting{ReaderAt: f}
	state, err := readLog(&count, sb)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(needTool(t, "xfs_logprint"), "-t", image).CombinedOutput()
	if want := fmt.Sprintf("state: <%s>", strings.ToUpper(state.String())); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("we say %s; xfs_logprint says %v, %s", state, err, out)
	}
	return state, count
}

// work makes files, each on the disk before the next.
func work(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		f, err := os.CreateTemp(dir, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// copied gives the image as it is at this moment, as a snapshot would.
func copied(t *testing.T, image string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.img")
	runTool(t, "cp", "--sparse=always", image, path)
	return path
}

// The state of a log in all the ways in which a snapshot may be taken, on logs of
// several geometries.
func TestLogState(t *testing.T) {
	needRoot(t)
	for _, options := range []string{"", "-l su=4096", "-l su=256k", "-s size=4096 -d agcount=2", "-b size=1024 -l agnum=3"} {
		t.Run("mkfs.xfs "+options, func(t *testing.T) {
			node, image := looptest.Device(t, testSize)
			runTool(t, "mkfs.xfs", append(strings.Fields("-q -m uuid="+UUIDFor(image)+" "+options), node)...)
			d := device(t, node)
			target := filepath.Join(t.TempDir(), "cp")
			want := func(when, image string, want LogState) {
				t.Helper()
				state, count := logOf(t, image)
				if state != want {
					t.Errorf("%s: %s, want %s", when, state, want)
				}
				if count.reads > 30 || count.bytes > (8+72+logRecordMax)*logBlock+30*8 {
					t.Errorf("%s: %d bytes in %d reads", when, count.bytes, count.reads)
				}
				t.Logf("%s: %s, %d bytes in %d reads", when, state, count.bytes, count.reads)
			}
			want("made", image, LogClean)

			mountXFS(t, d, target)
			work(t, target, 5)
			want("busy", copied(t, image), LogDirty)
			frozen, err := Freeze(target, time.Minute, func() {})
			if err != nil {
				t.Fatal(err)
			}
			snapshot := copied(t, image)
			if _, err := frozen.Thaw(); err != nil {
				t.Fatal(err)
			}
			want("frozen", snapshot, LogDirty)
			unmount(t, target)
			want("unmounted", image, LogClean)

			mountXFS(t, d, target)
			work(t, target, 3)
			runTool(t, "xfs_io", "-x", "-c", "shutdown", target)
			unmount(t, target)
			want("shut down", image, LogDirty)
			mountXFS(t, d, target)
			unmount(t, target)
			want("recovered", image, LogClean)

			// What mounts the snapshot replays its log, and then it is clean.
			copyOf := device(t, looptest.Attach(t, snapshot))
			disk := openDisk(t, copyOf)
			found, err := disk.Probe("")
			disk.Close()
			if err != nil || found.Kind != XFS || found.Log != LogDirty {
				t.Errorf("%+v, %v", found, err)
			}
			mountXFS(t, copyOf, target)
			unmount(t, target)
			want("snapshot, unmounted", snapshot, LogClean)
		})
	}
}

func unmount(t *testing.T, target string) {
	t.Helper()
	if err := Unmount(target); err != nil {
		t.Fatal(err)
	}
}

// A log is a ring. With records of 256 KiB it goes around its 64 MiB every 250 of
// them, so that every kind of end is at every kind of place once.
func TestLogStateWraps(t *testing.T) {
	needRoot(t)
	node, image := looptest.Device(t, testSize)
	runTool(t, "mkfs.xfs", "-q", "-m", "uuid="+testUUID, "-l", "su=256k", node)
	target := filepath.Join(t.TempDir(), "cp")
	for range 12 {
		mountXFS(t, device(t, node), target, "logbsize=256k")
		work(t, target, 25)
		if state, _ := logOf(t, copied(t, image)); state != LogDirty {
			t.Errorf("busy: %s", state)
		}
		unmount(t, target)
		if state, _ := logOf(t, image); state != LogClean {
			t.Errorf("unmounted: %s", state)
		}
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sb, err := readSuperblock(f)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := sb.log(f)
	if cycle, err := l.cycle(0); err != nil || cycle < 2 {
		t.Errorf("the log did not go around: cycle %d, %v", cycle, err)
	}
}

// A log that was overwritten is never called clean.
func TestLogStateSpoilt(t *testing.T) {
	needRoot(t)
	_, image := xfsDevice(t, testSize, testUUID)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sb, err := readSuperblock(f)
	if err != nil {
		t.Fatal(err)
	}
	l, ok := sb.log(f)
	if !ok {
		t.Fatal("no log")
	}
	header := peek(t, image, l.start, 2*logBlock)
	for name, test := range map[string]struct {
		off  int64
		data string
		want LogState
	}{
		"cycle of the header":   {4, "\x00\x00\x00\x00", LogUnknown},
		"magic of the header":   {0, "\x00\x00\x00\x00", LogUnknown},
		"UUID of another":       {304, "another UUID", LogUnknown},
		"length":                {12, "\x00\x00\x04\x00", LogDirty},
		"two operations":        {40, "\x00\x00\x00\x02", LogDirty},
		"operation not unmount": {logBlock + 9, "\x01", LogDirty},
	} {
		poke(t, image, l.start+test.off, []byte(test.data))
		if state, err := readLog(f, sb); err != nil || state != test.want {
			t.Errorf("%s: %s, %v; want %s", name, state, err, test.want)
		}
		poke(t, image, l.start, header)
	}
	for name, change := range map[string]func(*Superblock){
		"on another device":   func(sb *Superblock) { sb.LogStart = 0 },
		"beyond its group":    func(sb *Superblock) { sb.LogBlocks = sb.AGBlocks },
		"in no group":         func(sb *Superblock) { sb.LogStart += 1 << 40 },
		"of no blocks at all": func(sb *Superblock) { sb.LogBlocks = 0 },
	} {
		other := sb
		change(&other)
		if state, err := readLog(f, other); err != nil || state != LogUnknown {
			t.Errorf("%s: %s, %v", name, state, err)
		}
	}
	if state, err := readLog(io.NewSectionReader(f, 0, l.start+mib), sb); err == nil || state != LogUnknown {
		t.Errorf("cut short: %s, %v", state, err)
	}
}
