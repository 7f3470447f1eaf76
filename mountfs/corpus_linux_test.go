package mountfs

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"snapsource/mountfs/looptest"
)

// tally counts what became of the corpus.
type tally struct {
	sync.Mutex
	tried, refused, formatted, mistaken int
	unseen                              []string // known to us and not to blkid
}

func (c *tally) onlyWeKnow(what string) {
	c.Lock()
	defer c.Unlock()
	c.unseen = append(c.unseen, what)
}

// TestCorpus: only a blank device is formatted. All others are named, refused, and
// left as it was.
func TestCorpus(t *testing.T) {
	needRoot(t)
	var count tally
	t.Run("devices", func(t *testing.T) {
		for _, s := range corpus() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.try(t, &count)
			})
		}
	})
	t.Logf("known to us and not to blkid: %s", strings.Join(count.unseen, "; "))
	t.Logf("%d devices: %d refused, %d formatted, %d mistaken", count.tried, count.refused, count.formatted, count.mistaken)
}

func (s specimen) try(t *testing.T, count *tally) {
	size, kind := s.size, s.kind
	if size == 0 {
		size = testSize
	}
	if kind == 0 {
		kind = Foreign
	}
	formatted := false
	defer func() {
		count.Lock()
		defer count.Unlock()
		count.tried++
		switch {
		case t.Failed():
			count.mistaken++
		case formatted:
			count.formatted++
		default:
			count.refused++
		}
	}()
	node, _ := looptest.Device(t, size)
	s.make(t, node)
	before := sum(t, node)
	d := device(t, node)
	disk := openDisk(t, d)
	defer disk.Close()
	found, err := disk.Probe(testUUID)
	if err != nil {
		t.Fatal(err)
	}
	if found.Kind != kind || !strings.Contains(found.What, s.what) {
		t.Errorf("taken for %s: %q; want %s: %q", found.Kind, found.What, kind, s.what)
	}
	s.compareBlkid(t, node, found, count)
	formatted = s.checkFormat(t, disk, before, kind == Blank && size >= mkfsMin)
	if kind == Foreign {
		target := filepath.Join(t.TempDir(), "cp")
		_, err := MountXFS(d, target, nil)
		unmountAfter(t, target)
		wantError(t, err, ErrRefused)
	}
}

// compareBlkid compares a probe with blkid's.
func (s specimen) compareBlkid(t *testing.T, node string, found Contents, count *tally) {
	t.Helper()
	seen := blkid(t, node)
	if seen != "" && found.Kind == Blank {
		t.Errorf("blank to us, and to blkid %q", seen)
	}
	if seen == "" && found.Kind != Blank && !strings.HasPrefix(found.What, "unknown data") {
		count.onlyWeKnow(found.What)
	}
	if s.blkid != "" && !strings.Contains(seen, "="+s.blkid+"\n") {
		t.Errorf("blkid finds %q; want %s", seen, s.blkid)
	}
}

// checkFormat calls Format, which must succeed if want is set, and otherwise leave the disk
// with the checksum before.
func (s specimen) checkFormat(t *testing.T, disk *Disk, before string, want bool) (formatted bool) {
	t.Helper()
	err := disk.Format(t.Context(), Format{UUID: testUUID})
	if formatted = err == nil; formatted != want {
		t.Errorf("format: %v; want it done: %v", err, want)
	}
	if !formatted {
		wantError(t, err, ErrRefused)
		if disk.device.Size >= mkfsMin && !strings.Contains(err.Error(), s.what) {
			t.Errorf("%v: want %q in it", err, s.what)
		}
		if sum(t, disk.device.Node) != before {
			t.Error("refused, and changed")
		}
	}
	return formatted
}

// blkid is the second opinion: the lines that say what blkid sees; "" for
// nothing.
func blkid(t *testing.T, node string) string {
	t.Helper()
	out, err := exec.Command(needTool(t, "blkid"), "-p", "-o", "export", "-s", "TYPE", "-s", "PTTYPE", node).Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out)
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		return ""
	case errors.As(err, &exit) && exit.ExitCode() == 8:
		return "several\n"
	}
	t.Fatalf("blkid -p %s: %v", node, err)
	return ""
}
