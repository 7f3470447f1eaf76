package mountfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// formatted mounts an XFS that mkfs.xfs made with these arguments.
func formatted(t *testing.T, size int64, args ...string) (d Device, mountpoint string) {
	t.Helper()
	d, _ = loopDevice(t, size)
	runTool(t, "mkfs.xfs", append(append([]string{"-q"}, args...), d.Node)...)
	mountpoint = filepath.Join(t.TempDir(), "cp")
	mountXFS(t, d, mountpoint)
	return d, mountpoint
}

var spaceFormats = map[string][]string{
	"default":         nil,
	"rmapbt=0":        {"-m", "rmapbt=0,reflink=1"},
	"rmapbt=1":        {"-m", "rmapbt=1,reflink=1"},
	"bs=1024":         {"-b", "size=1024", "-m", "rmapbt=0"},
	"bs=1024 rmapbt":  {"-b", "size=1024", "-m", "rmapbt=1"},
	"bs=2048":         {"-b", "size=2048"},
	"sectors of 4096": {"-s", "size=4096"},
	"inodes of 2048":  {"-i", "size=2048"},
}

var spaceContents = map[string]func(t *testing.T, dir string){
	"empty":      func(*testing.T, string) {},
	"small":      smallFiles,
	"full":       fillUp,
	"fragmented": fragments,
	"reflink":    reflinks,
}

// TestSpaceInUse: the total is what the free-space btrees leave, and the blocks of all files
// and directories are in it; also read-only and frozen.
func TestSpaceInUse(t *testing.T) {
	needRoot(t)
	for format, args := range spaceFormats {
		for contents, fill := range spaceContents {
			t.Run(format+"/"+contents, func(t *testing.T) {
				d, mountpoint := formatted(t, testSize, args...)
				fill(t, mountpoint)
				wantRest(t, mountpoint)
				unmount(t, mountpoint)
				want := usedBytes(t, d.Node)
				mountXFS(t, d, mountpoint)
				s := wantSpace(t, mountpoint, "mounted", want)
				wantCovered(t, mountpoint, s)
				f, _ := freeze(t, mountpoint, time.Minute)
				wantSpace(t, mountpoint, "frozen", want)
				if _, err := f.Thaw(); err != nil {
					t.Fatal(err)
				}
				unmount(t, mountpoint)
				mountXFS(t, d, mountpoint, "ro")
				wantSpace(t, mountpoint, "read-only", want)
			})
		}
	}
}

// wantRest checks that all that is not free is in use, also what an unmount gives back: space that
// is set aside for copies on write and for growing files.
func wantRest(t *testing.T, mountpoint string) {
	t.Helper()
	if err := Flush(mountpoint); err != nil {
		t.Fatal(err)
	}
	f, _ := freeze(t, mountpoint, time.Minute)
	defer f.Thaw()
	dir := open(t, mountpoint)
	defer dir.Close()
	g, err := geometry(dir)
	if err != nil {
		t.Fatal(err)
	}
	rest := g.Size()
	if err := dataExtents(dir, func(r fsmapRecord) {
		if r.owner == ownerFree && r.flags&fsmapSpecialOwner != 0 {
			rest -= int64(r.length)
		}
	}); err != nil {
		t.Fatal(err)
	}
	wantSpace(t, mountpoint, "live", rest)
}

func wantSpace(t *testing.T, mountpoint, when string, total int64) Space {
	t.Helper()
	s, err := SpaceInUse(mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	if s.Total() != total {
		t.Errorf("%s: %d bytes in use, want %d", when, s.Total(), total)
	}
	all := append(append(append([]Range{}, s.Metadata...), s.Data...), s.Log...)
	if n := TotalLength(MergeRanges(all)); n != s.Total() {
		t.Errorf("%s: the lists overlap: %d bytes in all, %d in the union", when, s.Total(), n)
	}
	if len(s.Log) != 1 || len(s.Metadata) == 0 {
		t.Errorf("%s: log %v, metadata %v", when, s.Log, s.Metadata)
	}
	return s
}

// usedBytes returns the size of an unmounted file system less the space in its free-space
// btrees: what xfs_db prints.
func usedBytes(t *testing.T, node string) int64 {
	t.Helper()
	sb := xfsDB(t, node, "sb 0", "print dblocks", "print blocksize", "print agcount")
	used := sb["dblocks"]
	for group := range sb["agcount"] {
		used -= xfsDB(t, node, fmt.Sprintf("agf %d", group), "print freeblks")["freeblks"]
	}
	return used * sb["blocksize"]
}

// xfsDB returns the numbers that commands of xfs_db print.
func xfsDB(t *testing.T, node string, commands ...string) map[string]int64 {
	t.Helper()
	args := []string{"-r"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	cmd := exec.Command(needTool(t, "xfs_db"), append(args, node)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	numbers := map[string]int64{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			numbers[key] = n
		}
	}
	return numbers
}

// wantCovered checks that the blocks and inodes of all files are in s.
func wantCovered(t *testing.T, mountpoint string, s Space) {
	t.Helper()
	all := MergeRanges(append(append([]Range{}, s.Metadata...), s.Data...))
	err := filepath.WalkDir(mountpoint, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() && !e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		blocks, err := BlockRanges(f, nil)
		if err != nil {
			return err
		}
		if missing := SubtractRanges(MergeRanges(blocks), all); len(missing) > 0 {
			t.Errorf("%s: %v are missing", path, missing)
		}
		inodes, err := InodesOf(f)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return err
		}
		if missing := SubtractRanges([]Range{inodes.Range(st.Ino)}, s.Metadata); len(missing) > 0 {
			t.Errorf("inode of %s: %v are no metadata", path, missing)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func smallFiles(t *testing.T, dir string) {
	t.Helper()
	for i := range 40 {
		sub := filepath.Join(dir, fmt.Sprintf("directory-%d", i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for k := range 100 {
			writeFile(t, filepath.Join(sub, fmt.Sprintf("a file with a long name, number %d", k)), bytes.Repeat([]byte{1}, 1+k*100))
		}
	}
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// fillUp leaves no space.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(0)
	for n := int64(16 * mib); n >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, n); {
		case errors.Is(err, unix.ENOSPC):
			n /= 2
		case err != nil:
			t.Fatal(err)
		default:
			at += n
		}
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{1}, 8*mib), mib); err != nil {
		t.Fatal(err)
	}
}

// fragments makes a file of 3,000 extents, between which there is free space.
func fragments(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "fragments")
	writeFile(t, path, bytes.Repeat([]byte{1}, 6000*4096))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(3000) {
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 2*i*4096, 4096); err != nil {
			t.Fatal(err)
		}
	}
}

// reflinks shares a fragmented file and a plain one between copies, and changes some of them.
func reflinks(t *testing.T, dir string) {
	t.Helper()
	fragments(t, dir)
	writeFile(t, filepath.Join(dir, "plain"), bytes.Repeat([]byte{1}, 8*mib))
	for _, name := range []string{"fragments", "plain"} {
		for i := range 3 {
			to := filepath.Join(dir, fmt.Sprint(name, i))
			cmd := exec.Command("cp", "--reflink=always", filepath.Join(dir, name), to)
			if out, err := cmd.CombinedOutput(); err != nil {
				if bytes.Contains(out, []byte("not supported")) {
					t.Skipf("%s", out)
				}
				t.Fatalf("%v: %s", err, out)
			}
			poke(t, to, int64(i)*mib+4096, bytes.Repeat([]byte{2}, 4096))
		}
	}
}
