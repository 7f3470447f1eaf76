package mountfs

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// swapper exchanges two paths without a pause, as somebody would who waits for
// the moment between a check and what follows it.
type swapper struct {
	t    *testing.T
	a, b string
	hold sync.Mutex
	odd  bool
	done chan struct{}
	gone sync.WaitGroup
}

func swap(t *testing.T, a, b string) *swapper {
	t.Helper()
	s := &swapper{t: t, a: a, b: b, done: make(chan struct{})}
	s.gone.Go(func() {
		for {
			select {
			case <-s.done:
				return
			default:
				s.hold.Lock()
				s.exchange()
				s.hold.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		close(s.done)
		s.gone.Wait()
		s.still(func() {})
	})
	return s
}

func (s *swapper) exchange() {
	// EBUSY: one of the two is a mountpoint just now.
	if err := unix.Renameat2(unix.AT_FDCWD, s.a, unix.AT_FDCWD, s.b, unix.RENAME_EXCHANGE); err == nil {
		s.odd = !s.odd
	}
}

// still runs f while all is in its place.
func (s *swapper) still(f func()) {
	s.hold.Lock()
	defer s.hold.Unlock()
	if s.odd {
		s.exchange()
	}
	f()
}

// trap is a directory that nothing may ever be mounted on or made in.
type trap struct {
	t   *testing.T
	dir string
}

func newTrap(t *testing.T) trap {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "trap")
	for _, name := range []string{"cp", "new"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return trap{t, dir}
}

func (tr trap) untouched() {
	tr.t.Helper()
	mounts, err := Mounts()
	if err != nil {
		tr.t.Fatal(err)
	}
	for _, m := range mounts {
		if isBelow(m.Target, tr.dir) {
			tr.t.Fatalf("%s is mounted at %s", m.Source, m.Target)
		}
	}
	for _, dir := range []string{tr.dir, filepath.Join(tr.dir, "cp"), filepath.Join(tr.dir, "new")} {
		names, err := os.ReadDir(dir)
		if err != nil {
			tr.t.Fatal(err)
		}
		if len(names) != 0 && dir != tr.dir || len(names) > 2 || mode(tr.t, dir) != 0o755 {
			tr.t.Fatalf("%s: mode %03o, %v", dir, mode(tr.t, dir), names)
		}
	}
}

// rounds is how often each race is run.
const rounds = 100

// While a component of the target's path is exchanged with a link again and again,
// nothing ever appears where the link leads.
func TestMountRacesLinks(t *testing.T) {
	needRoot(t)
	for _, test := range []struct{ name, component, target string }{
		{"a directory above", "a", "a/cp"},
		{"a directory to be made", "a", "a/new/er"},
		{"the mountpoint", "cp", "cp"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := xfsDevice(t, testSize, UUIDFor(t.TempDir()))
			dir, tr := t.TempDir(), newTrap(t)
			component, link := filepath.Join(dir, test.component), filepath.Join(dir, "link")
			target := filepath.Join(dir, test.target)
			if err := os.MkdirAll(component, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(tr.dir, link); err != nil {
				t.Fatal(err)
			}
			s := swap(t, component, link)
			mounted, unmounted := 0, 0
			for range rounds {
				if _, err := MountXFS(d, target, nil); err == nil {
					mounted++
				}
				tr.untouched()
				if Unmount(target) == nil {
					unmounted++
				}
				// The kernel looks for a mount before it exchanges: one that comes in
				// between, and was right when we looked, moves with its directory.
				for Unmount(link) == nil {
				}
				s.still(func() {
					for Unmount(target) == nil {
					}
					tr.untouched()
				})
			}
			t.Logf("%d rounds: mounted in %d, unmounted in %d", rounds, mounted, unmounted)
			if mounted == 0 || mounted == rounds {
				t.Errorf("mounted in %d of %d rounds: there was no race", mounted, rounds)
			}
		})
	}
}

// Unmount never unmounts what a link leads to.
func TestUnmountRacesLinks(t *testing.T) {
	needRoot(t)
	dir, other := t.TempDir(), t.TempDir()
	component, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	for _, path := range []string{component, other} {
		if err := os.MkdirAll(filepath.Join(path, "cp"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("precious", filepath.Join(other, "cp"), "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, filepath.Join(other, "cp"))
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	swap(t, component, link)
	for range 10 * rounds {
		if err := Unmount(filepath.Join(component, "cp")); err == nil {
			t.Fatal("unmounted through a link")
		}
	}
	if found, err := InspectTarget(filepath.Join(other, "cp")); err != nil || found.State != Mounted {
		t.Errorf("%+v, %v", found, err)
	}
}

// A bind shows the volume's own directory at the target's own place, or nothing.
func TestBindRacesLinks(t *testing.T) {
	needRoot(t)
	d, _ := xfsDevice(t, testSize, testUUID)
	dir := t.TempDir()
	cp := filepath.Join(dir, "cp")
	mountXFS(t, d, cp)
	for _, test := range []struct{ name, component, sub, target string }{
		{"above the target", "srv", "code/release", "srv/app"},
		{"the source", "cp/code", "code/release", "app"},
		{"the source's last", "cp/code/release", "code/release", "app2"},
		{"a source to be made", "cp/code", "code/new/er", "app3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrap(t)
			component := filepath.Join(dir, test.component)
			for _, path := range []string{component, filepath.Join(cp, "code/release")} {
				if err := os.MkdirAll(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			link := component + ".link"
			if err := os.Symlink(tr.dir, link); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(link) }) // after the swapper's
			target := filepath.Join(dir, test.target)
			s := swap(t, component, link)
			bound := 0
			for range rounds {
				_, err := Bind(cp, test.sub, target, true)
				tr.untouched()
				s.still(func() {
					if found, lookErr := InspectTarget(target); lookErr == nil && found.State == Mounted {
						if found.Mount.Minor != d.Minor || found.Mount.Major != d.Major || !strings.HasPrefix(found.Mount.Root, "/code") {
							t.Errorf("bound %+v", found.Mount)
						}
						if err == nil {
							bound++
						}
					}
					for Unmount(target) == nil {
					}
					tr.untouched()
				})
			}
			t.Logf("%d rounds: bound in %d", rounds, bound)
			if bound == 0 {
				t.Error("never bound")
			}
		})
	}
}
