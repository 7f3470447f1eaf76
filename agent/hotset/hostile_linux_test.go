package hotset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHostileTree: links, FIFOs, devices, mounts and endless files are no way out.
func TestHostileTree(t *testing.T) {
	v := newVolume(t, 320*mib)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "secret"), make([]byte, page), 0o644),
		os.Symlink(outside, v.path("link")),
		os.Symlink(filepath.Join(outside, "secret"), v.path("file link")),
		os.Symlink(".", v.path("loop")),
		unix.Mkfifo(v.path("fifo"), 0o644),
		unix.Mknod(v.path("zero"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))),
		os.Mkdir(v.path("bind"), 0o755),
		os.Mkdir(v.path("tmpfs"), 0o755),
		os.Mkdir(v.path("self"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	v.write("d/file", page)
	v.write("covered", page)
	v.write("Ünïcödé \xff\n name", page)
	if err := os.Link(v.path("d/file"), v.path("d/same file")); err != nil {
		t.Fatal(err)
	}
	for target, source := range map[string]string{"bind": outside, "self": v.path("d"), "covered": v.path("d/file")} {
		if err := unix.Mount(source, v.path(target), "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(v.path(target), unix.UMOUNT_NOFOLLOW)
	}
	if err := unix.Mount("tmpfs", v.path("tmpfs"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(v.path("tmpfs"), unix.UMOUNT_NOFOLLOW)
	v.write("tmpfs/elsewhere", page)
	sparse(t, v.path("sparse"))
	deep := strings.Repeat("x/", depthMax+20)
	v.write(deep+"deep", page)
	sum := v.record(Options{})
	if sum.Complete {
		t.Error("complete, although a directory was too deep")
	}
	var paths []string
	for _, f := range v.load().Files {
		paths = append(paths, f.Path)
	}
	slices.Sort(paths)
	if want := []string{"d/file", "sparse", "Ünïcödé \xff\n name"}; fmt.Sprintf("%q", paths) != fmt.Sprintf("%q", want) &&
		fmt.Sprintf("%q", paths) != fmt.Sprintf("%q", []string{"d/same file", "sparse", "Ünïcödé \xff\n name"}) {
		t.Errorf("%q", paths)
	}
}

// sparse makes a file of 1 TiB with a page of data in it.
func sparse(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 1<<40-1); err != nil {
		t.Fatal(err)
	}
}

// TestReplacedMeanwhile: directories that become links during the walk lead nowhere.
func TestReplacedMeanwhile(t *testing.T) {
	v := newVolume(t, 320*mib)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "file"), make([]byte, page), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		v.write(fmt.Sprintf("d%d/e/file", i), page)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			d := v.path(fmt.Sprintf("d%d", i%50))
			os.Rename(d, d+".away")
			os.Symlink(outside, d)
			os.Remove(d)
			os.Rename(d+".away", d)
		}
	}()
	for range 20 {
		v.record(Options{})
		for _, f := range v.load().Files {
			if !strings.HasSuffix(f.Path, "/e/file") {
				t.Errorf("%q", f.Path)
			}
		}
	}
	close(stop)
	<-stopped
}

// TestHostilePlace: the record's directory and file are root's own, or nothing is read or written.
func TestHostilePlace(t *testing.T) {
	for name, prepare := range map[string]func(v volume, outside string) error{
		"link": func(v volume, outside string) error { return os.Symlink(outside, v.path(Dir)) },
		"file": func(v volume, _ string) error { return os.WriteFile(v.path(Dir), nil, 0o644) },
		"not root's": func(v volume, _ string) error {
			return errors.Join(os.Mkdir(v.path(Dir), 0o777), os.Chown(v.path(Dir), 1000, 1000))
		},
		"fifo in it": func(v volume, _ string) error {
			return inPlace(v, func(p string) error { return unix.Mkfifo(p, 0o600) })
		},
		"link in it": func(v volume, o string) error {
			return inPlace(v, func(p string) error { return os.Symlink(o+"/x", p) })
		},
		"directory in it": func(v volume, _ string) error { return inPlace(v, func(p string) error { return os.Mkdir(p, 0o700) }) },
		"not root's file": func(v volume, _ string) error {
			return inPlace(v, func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chown(p, 1000, 1000)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVolume(t, 320*mib)
			v.write("file", page)
			outside := t.TempDir()
			if err := prepare(v, outside); err != nil {
				t.Fatal(err)
			}
			if _, err := Record(t.Context(), v.mountpoint, Options{}); !errors.Is(err, ErrPlace) {
				t.Errorf("record: %v", err)
			}
			if _, ok, err := Load(v.mountpoint, v.size()); ok || err == nil && name != "not root's" {
				t.Errorf("load: %v, %v", ok, err)
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written elsewhere: %v", left)
			}
		})
	}
}

func inPlace(v volume, do func(path string) error) error {
	return errors.Join(os.Mkdir(v.path(Dir), 0o700), do(v.path(Dir+"/"+Name)))
}

// TestDamagedRecord: it is told by Load, and replaced by the next Record.
func TestDamagedRecord(t *testing.T) {
	v := newVolume(t, 320*mib)
	v.write("file", page)
	for name, data := range map[string][]byte{
		"empty": nil, "nonsense": []byte("nonsense"), "too long": make([]byte, MaxBytes+1),
		"another device's": encode(Set{Size: 1 << 50}),
	} {
		if err := os.MkdirAll(v.path(Dir), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(v.path(Dir+"/"+Name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := Load(v.mountpoint, v.size()); ok || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		v.record(Options{})
		v.wantFiles(v.load(), "file")
	}
	st, err := os.Stat(v.path(Dir))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestManyFiles logs how long a record takes.
func TestManyFiles(t *testing.T) {
	v := newVolume(t, 4<<30)
	n := 0
	for _, upTo := range []int{1000, 10_000, 100_000} {
		if upTo > 10_000 && os.Getenv("HOTSET_FILES") == "" {
			continue
		}
		for ; n < upTo; n++ {
			path := v.path(fmt.Sprintf("d%d/file-%d", n/100, n))
			if n%100 == 0 {
				if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(path, make([]byte, 3000), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		sum := v.record(Options{Limit: time.Minute})
		t.Logf("%d files: %+v", n, sum)
		if sum.Files < n*9/10 || sum.Files > n { // the kernel may evict some
			t.Errorf("%d files, want %d", sum.Files, n)
		}
		if got := v.load(); len(got.Files) != sum.Files {
			t.Errorf("%d files in the record", len(got.Files))
		}
	}
}
