package mountfs

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/moby/sys/mountinfo"
)

// readMounts is Mounts of another text than this process's own.
func readMounts(text string) ([]Mount, error) {
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	return mountsOf(infos), err
}

// FuzzMountAt: whatever mountinfo says, what is found is in it, and on top.
func FuzzMountAt(f *testing.F) {
	f.Add("22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 259:1 / /cp rw,noatime - xfs /dev/nvme1n1 rw\n", "/cp")
	f.Add("30 22 7:1 / /cp rw - xfs /dev/loop1 rw\n31 30 0:5 / /cp rw - tmpfs none rw\n", "/cp")
	f.Add("30 31 7:1 / /cp rw - xfs a rw\n31 30 7:2 / /cp rw - xfs b rw\n", "/cp")
	f.Add("30 30 7:1 /a\\040b /c\\134p rw shared:1 master:2 - xfs /dev/loop1 rw,nouuid\n", "/c\\p")
	f.Add("x", "/")
	f.Add("30 22 7:1 / /cp rw - xfs a rw\n", "")
	f.Fuzz(func(t *testing.T, text, target string) {
		mounts, err := readMounts(text)
		if err != nil {
			return
		}
		at := func(m Mount) bool { return m.Target == target }
		m, ok := MountAt(mounts, target)
		if !ok {
			// None there, or each is hidden. Of mounts inside others that is not checked here.
			outermost := func(m Mount) bool {
				return m.Parent == m.ID || !slices.ContainsFunc(mounts, func(o Mount) bool { return o.ID == m.Parent })
			}
			for i, m := range mounts {
				hidden := false
				for j, o := range mounts {
					over := o.Parent == m.ID && o.ID != m.ID || outermost(o) && i != j
					hidden = hidden || over && isBelow(target, o.Target)
				}
				if at(m) && isBelow(target, m.Target) && outermost(m) && !hidden {
					t.Fatalf("%+v was not found", m)
				}
			}
			return
		}
		if !at(m) || !slices.Contains(mounts, m) {
			t.Fatalf("found %+v at %q", m, target)
		}
		for _, o := range mounts {
			if at(o) && o.Parent == m.ID && o.ID != m.ID {
				t.Fatalf("%+v lies under %+v", m, o)
			}
		}
		for _, o := range (Device{Major: m.Major, Minor: m.Minor}).mounts(mounts) {
			if o.Major != m.Major || o.Minor != m.Minor {
				t.Fatalf("%+v is not of %d:%d", o, m.Major, m.Minor)
			}
		}
	})
}

// FuzzMountTarget: a path comes out of mountinfo as it was put in by the kernel.
func FuzzMountTarget(f *testing.F) {
	for _, s := range []string{"/cp", "/a b", "/a\nb", `/a\040b`, "/a#b", "/ä", "/\xff", "/ - xfs"} {
		f.Add(s)
	}
	// seq_path_root of the kernel's fs/proc_namespace.c escapes these.
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`)
	f.Fuzz(func(t *testing.T, path string) {
		if checkPath(path) != nil {
			return
		}
		line := fmt.Sprintf("30 22 259:1 / %s rw shared:1 - xfs /dev/nvme1n1 rw,nouuid\n", escape.Replace(path))
		mounts, err := readMounts(line)
		if err != nil || len(mounts) != 1 || mounts[0].Target != path || mounts[0].FSType != "xfs" || mounts[0].Minor != 1 {
			t.Fatalf("%q: %+v, %v", line, mounts, err)
		}
	})
}

// FuzzUevent: an event is one of a block device exactly if a whole property says so.
func FuzzUevent(f *testing.F) {
	f.Add([]byte("add@/devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1\x00ACTION=add\x00SUBSYSTEM=block\x00DEVNAME=nvme1n1\x00SEQNUM=1\x00"))
	f.Add([]byte("add@/x\x00SUBSYSTEM=block"))
	f.Add([]byte("add@/x\x00MYSUBSYSTEM=block\x00SUBSYSTEM=blocks\x00"))
	f.Add([]byte("SUBSYSTEM=block\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, event []byte) {
		parts := bytes.Split(event, []byte{0})
		want := len(parts) > 2 && slices.ContainsFunc(parts[1:len(parts)-1], func(p []byte) bool { return string(p) == "SUBSYSTEM=block" })
		if got := isBlockEvent(event); got != want {
			t.Fatalf("%q: %v", event, got)
		}
	})
}

// FuzzSerial: a disk has a volume's serial only if the field holds nothing else.
func FuzzSerial(f *testing.F) {
	f.Add([]byte("vol0123456789abcdef0\n"), "vol-0123456789abcdef0")
	f.Add([]byte("vol01234567         \n"), "vol-01234567")
	f.Add([]byte("vol0123456789abcdef0\x00\x00"), "vol-0123456789abcdef0")
	f.Add([]byte("xvol01234567\n"), "vol-01234567")
	f.Add([]byte("\n"), "")
	f.Fuzz(func(t *testing.T, field []byte, id string) {
		serial := attributeText(field)
		if volumeForm.MatchString(id) && serial == serialOf(id) {
			rest := bytes.Replace(field, []byte(serialOf(id)), nil, 1)
			if len(bytes.Trim(rest, " \x00\t\n")) != 0 {
				t.Fatalf("%q is taken for %s", field, id)
			}
		}
		if strings.TrimSpace(serial) != serial && strings.ContainsAny(serial[:1]+serial[len(serial)-1:], " \x00\t\n") {
			t.Fatalf("%q is padded", serial)
		}
	})
}

// FuzzDeviceNames: ids and names that are taken give names of their directories only.
func FuzzDeviceNames(f *testing.F) {
	for _, s := range append(hostile, "vol-0123456789abcdef0", "/dev/sdf", "xvdba", "/dev/sda1", "/dev/sd../x") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		names := namesOf(s)
		if volumeForm.MatchString(s) {
			names = append(names, linksOf(s)...)
		}
		for _, name := range names {
			if path := filepath.Join("/dev/dir", name); filepath.Dir(path) != "/dev/dir" || filepath.Base(path) != name || strings.ContainsAny(name, "\x00\n \\") {
				t.Fatalf("%q: %q", s, name)
			}
		}
	})
}

// FuzzLabel: a label is short, can be printed, and is what the name begins with.
func FuzzLabel(f *testing.F) {
	for _, s := range append(hostile, "codepen-app-staging", "ääääääää", "xääääääää", "a\ufffdb") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		l := Label(name)
		if len(l) > labelMax || !utf8.ValidString(l) || strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("Label(%q) = %q", name, l)
		}
		printable := strings.Map(func(r rune) rune {
			if r == utf8.RuneError || !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, name)
		if !strings.HasPrefix(printable, l) || len(l) < labelMax-utf8.UTFMax+1 && l != printable {
			t.Fatalf("Label(%q) = %q", name, l)
		}
	})
}

// FuzzMountOptions: options that are taken reach the kernel as they were, each alone.
func FuzzMountOptions(f *testing.F) {
	f.Add("noatime", "discard", "logbsize=256k")
	f.Add("ro", "rw", "a,b")
	f.Add("remount", "logdev=/dev/vda", "\x00")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		given := []string{a, b, c}
		_, data, err := splitOptions(given)
		if err != nil {
			return
		}
		joined := strings.Join(data, ",")
		if len(data) > 0 && !slices.Equal(strings.Split(joined, ","), data) || strings.ContainsAny(joined, "\x00\n \\") {
			t.Fatalf("%q: %q", given, data)
		}
		for _, o := range data {
			if !slices.Contains(given, o) || strings.HasPrefix(o, "logdev=") || strings.HasPrefix(o, "rtdev=") {
				t.Fatalf("%q: %q", given, o)
			}
		}
	})
}
