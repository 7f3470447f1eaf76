package mountfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/mountfs/looptest"
)

const (
	volumeID = "vol-0123456789abcdef0"
	serial   = "vol0123456789abcdef0"
	byID     = "disk/by-id/nvme-Amazon_Elastic_Block_Store_" + serial
)

// tree is a made-up host.
type tree struct {
	t    testing.TB
	host Host
}

func newTree(t *testing.T) tree {
	t.Helper()
	needRoot(t) // for mknod
	dir := t.TempDir()
	f := tree{t, Host{Sys: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev")}}
	for _, d := range []string{f.host.Sys + "/block", f.host.Dev + "/disk/by-id"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// disk adds a disk to sysfs and its node to /dev.
func (f tree) disk(name, serial string, minor uint32, size int64) {
	f.t.Helper()
	dir := filepath.Join(f.host.Sys, "block", name)
	f.write(dir+"/dev", fmt.Sprintf("259:%d\n", minor))
	f.write(dir+"/size", fmt.Sprintf("%d\n", size/512))
	f.write(dir+"/ro", "0\n")
	f.write(dir+"/diskseq", "7\n")
	if serial != "" {
		f.write(dir+"/device/serial", serial+"\n")
	}
	f.node(name, minor)
}

func (f tree) node(name string, minor uint32) {
	f.t.Helper()
	if err := unix.Mknod(filepath.Join(f.host.Dev, name), unix.S_IFBLK|0o600, int(unix.Mkdev(259, minor))); err != nil {
		f.t.Fatal(err)
	}
}

func (f tree) write(path, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f tree) link(name, to string) {
	f.t.Helper()
	if err := os.Symlink(to, filepath.Join(f.host.Dev, name)); err != nil {
		f.t.Fatal(err)
	}
}

// otherSerial is the serial number of another volume.
const otherSerial = "vol0ffffffffffffffff"

var findTests = []struct {
	name   string
	build  func(tree)
	volume Volume
	node   string // base name
	by     string
	err    error
}{
	{name: "nothing", build: func(f tree) {}, err: ErrNoDevice},
	{name: "serial", node: "nvme1n1", by: "serial", build: func(f tree) {
		f.disk("nvme0n1", "vol0aaaaaaaaaaaaaaaa", 0, 8*gib)
		f.disk("nvme1n1", serial, 1, 5*gib)
	}},
	{name: "serial, enlarged since", node: "nvme1n1", by: "serial", build: func(f tree) {
		f.disk("nvme1n1", serial, 1, 6*gib)
	}},
	{name: "short legacy id, padded", node: "nvme1n1", by: "serial", volume: Volume{ID: "vol-12345678", Size: 5 * gib}, build: func(f tree) {
		f.disk("nvme1n1", "vol12345678         ", 1, 5*gib)
	}},
	{name: "padded with NUL", node: "nvme1n1", by: "serial", volume: Volume{ID: "vol-12345678"}, build: func(f tree) {
		f.disk("nvme1n1", "vol12345678\x00\x00", 1, 5*gib)
	}},
	{name: "legacy id is a prefix of another", err: ErrNoDevice, volume: Volume{ID: "vol-01234567", Size: 5 * gib}, build: func(f tree) {
		f.disk("nvme1n1", serial, 1, 5*gib)
	}},
	{name: "hidden path of a multipath disk", err: ErrNoDevice, build: func(f tree) {
		f.disk("nvme1c0n1", serial, 1, 5*gib)
	}},
	{name: "in sysfs, no node yet", err: ErrNoDevice, build: func(f tree) {
		f.disk("nvme1n1", serial, 1, 5*gib)
		os.Remove(filepath.Join(f.host.Dev, "nvme1n1"))
	}},
	{name: "not ready", err: ErrNoDevice, build: func(f tree) {
		f.disk("nvme1n1", serial, 1, 0)
	}},
	{name: "node of another device", err: ErrWrongDevice, build: func(f tree) {
		f.disk("nvme1n1", serial, 1, 5*gib)
		os.Remove(filepath.Join(f.host.Dev, "nvme1n1"))
		f.node("nvme1n1", 9)
	}},
	{name: "node is a file", err: ErrWrongDevice, build: func(f tree) {
		f.disk("nvme1n1", serial, 1, 5*gib)
		os.Remove(filepath.Join(f.host.Dev, "nvme1n1"))
		f.write(filepath.Join(f.host.Dev, "nvme1n1"), "")
	}},
	{name: "link", node: "loop3", by: "link", build: func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID, "../../loop3")
	}},
	{name: "link, size unknown", node: "loop3", by: "link", volume: Volume{ID: volumeID}, build: func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID+"_1", "../../loop3")
	}},
	{name: "link of amazon-ec2-utils", node: "loop3", by: "link", build: func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID+"-ns-1", "../../loop3")
	}},
	{name: "dangling link", err: ErrNoDevice, build: func(f tree) { f.link(byID, "../../nvme9n1") }},
	{name: "link to an unconfigured loop", err: ErrNoDevice, build: func(f tree) {
		f.disk("loop3", "", 3, 0)
		f.link(byID, "../../loop3")
	}},
	{name: "stale link", err: ErrWrongDevice, build: func(f tree) {
		f.disk("nvme1n1", otherSerial, 1, 5*gib)
		f.link(byID, "../../nvme1n1")
	}},
	{name: "stale link, but the serial is there", node: "nvme2n1", by: "serial", build: func(f tree) {
		f.disk("nvme1n1", otherSerial, 1, 5*gib)
		f.disk("nvme2n1", serial, 2, 5*gib)
		f.link(byID, "../../nvme1n1")
	}},
	{name: "one link stale, the other good", node: "loop3", by: "link", build: func(f tree) {
		f.disk("nvme1n1", otherSerial, 1, 5*gib)
		f.disk("loop3", "", 3, 5*gib)
		f.link(byID, "../../nvme1n1")
		f.link(byID+"_1", "../../loop3")
	}},
	{name: "link, wrong size", err: ErrWrongDevice, build: func(f tree) {
		f.disk("loop3", "", 3, 5*gib-512)
		f.link(byID, "../../loop3")
	}},
	{name: "link to a partition", err: ErrWrongDevice, build: func(f tree) {
		f.disk("nvme1n1", otherSerial, 1, 5*gib)
		f.node("nvme1n1p1", 2)
		f.link(byID, "../../nvme1n1p1")
	}},
	{name: "link out of /dev", err: ErrWrongDevice, build: func(f tree) {
		f.write(filepath.Join(f.host.Sys, "x"), "")
		f.link(byID, "../../../sys/x")
	}},
	{name: "Xen", node: "xvdf", by: "name", build: func(f tree) { f.disk("xvdf", "", 5, 5*gib) }},
	{name: "Xen, called by its own name", node: "xvdf", by: "name", volume: Volume{ID: volumeID, Name: "xvdf", Size: 5 * gib},
		build: func(f tree) { f.disk("xvdf", "", 5, 5*gib) }},
	{name: "Xen, two letters", node: "xvdba", by: "name", volume: Volume{ID: volumeID, Name: "/dev/xvdba", Size: 5 * gib},
		build: func(f tree) { f.disk("xvdba", "", 5, 5*gib) }},
	{name: "Xen, by a link", node: "xvdj", by: "name", build: func(f tree) {
		f.disk("xvdj", "", 5, 5*gib)
		f.link("sdf", "xvdj")
	}},
	{name: "Xen, wrong size", err: ErrWrongDevice, build: func(f tree) { f.disk("xvdf", "", 5, 8*gib) }},
	{name: "Xen, size unknown", err: ErrNoDevice, volume: Volume{ID: volumeID, Name: "/dev/sdf"},
		build: func(f tree) { f.disk("xvdf", "", 5, 5*gib) }},
	{name: "Xen, name unknown", err: ErrNoDevice, volume: Volume{ID: volumeID, Size: 5 * gib},
		build: func(f tree) { f.disk("xvdf", "", 5, 5*gib) }},
	{name: "a SCSI disk of that name and size", err: ErrNoDevice, build: func(f tree) { f.disk("sdf", "", 5, 5*gib) }},
	{name: "a loop device by that name", err: ErrNoDevice, build: func(f tree) {
		f.disk("loop3", "", 3, 5*gib)
		f.link("sdf", "loop3")
	}},
	{name: "another volume by that name", err: ErrNoDevice, build: func(f tree) {
		f.disk("nvme1n1", otherSerial, 1, 5*gib)
		f.link("sdf", "nvme1n1")
	}},
	{name: "name with a slash", err: ErrNoDevice, volume: Volume{ID: volumeID, Name: "/dev/../xvdf", Size: 5 * gib},
		build: func(f tree) { f.disk("xvdf", "", 5, 5*gib) }},
}

func TestFind(t *testing.T) {
	volume := Volume{ID: volumeID, Name: "/dev/sdf", Size: 5 * gib}
	for _, test := range findTests {
		t.Run(test.name, func(t *testing.T) {
			f := newTree(t)
			test.build(f)
			v := test.volume
			if v.ID == "" {
				v = volume
			}
			d, err := f.host.Find(v)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("got %+v, %v; want error %v", d, err, test.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), v.ID) || d != (Device{}) {
					t.Errorf("%+v, %v", d, err)
				}
				return
			}
			if filepath.Base(d.Node) != test.node || d.By != test.by || d.Major != 259 || d.Size == 0 || d.Seq != 7 {
				t.Errorf("%+v", d)
			}
		})
	}
	if _, err := Find(Volume{}); err == nil {
		t.Error("a volume without id was found")
	}
}

// The slow scan is an hour away here: only the kernel's event can end the wait.
func TestWaitSeesEvent(t *testing.T) {
	needRoot(t)
	f := newTree(t)
	f.host.Sys = "/sys"
	w := NewWaiter(Volume{ID: volumeID, Size: 8 * mib})
	defer w.Close()
	if w.events == nil {
		t.Fatal("no uevent socket")
	}
	w.host, w.scan = f.host, time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan Device, 1)
	failed := make(chan error, 1)
	go func() {
		d, err := w.Wait(ctx)
		if err != nil {
			failed <- err
		}
		got <- d
	}()
	// The link first, leading to a node that is not configured: no device yet.
	image := looptest.Image(t, 8*mib)
	node := looptest.Attach(t, image)
	base := filepath.Base(node)
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(f.host.Dev, base), unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	f.link(byID, "../../"+base)
	// A second event, after the link is there: as udev's comes after the kernel's.
	looptest.Resize(t, node, image, 9*mib)
	looptest.Resize(t, node, image, 8*mib)
	select {
	case err := <-failed:
		t.Fatal(err)
	case d := <-got:
		if d.By != "link" || filepath.Base(d.Node) != base || d.Size != 8*mib {
			t.Errorf("%+v", d)
		}
	}
}

func TestWaitWithoutEvents(t *testing.T) {
	f := newTree(t)
	w := &Waiter{volume: Volume{ID: volumeID}, host: f.host, scan: time.Millisecond}
	f.disk("nvme1n1", serial, 1, gib)
	if d, err := w.Wait(t.Context()); err != nil || d.By != "serial" {
		t.Errorf("%+v, %v", d, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// At the deadline the error tells the last reason.
func TestWaitDeadline(t *testing.T) {
	f := newTree(t)
	for name, events := range map[string]*os.File{"events": listen(), "no events": nil} {
		w := &Waiter{volume: Volume{ID: volumeID}, host: f.host, scan: time.Hour, events: events}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := w.Wait(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNoDevice) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		w.Close()
	}
	f.disk("nvme1n1", "vol0ffffffffffffffff", 1, gib)
	f.link(byID, "../../nvme1n1")
	w := &Waiter{volume: Volume{ID: volumeID}, host: f.host, scan: time.Hour, events: listen()}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Wait(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrWrongDevice) {
		t.Errorf("stale link: %v", err)
	}
}
