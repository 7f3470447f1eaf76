//go:build vm

package vmtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"snapsource/ec2ops/ec2test"
)

// lab is a region of EC2 whose instances are virtual machines.
type lab struct {
	t      *testing.T
	dir    string
	store  string // files that machines can download
	image  string // a machine image with nothing of snapsource
	kernel string
	server *ec2test.Server
	disks  *disks

	mu       sync.Mutex
	machines map[string]*machine
	victim   *machine // whose power a kill fault cuts
	wrong    []error
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("the machines' networks need root")
	}
	l := &lab{t: t, dir: t.TempDir(), machines: map[string]*machine{}}
	l.store = filepath.Join(l.dir, "store")
	check(t, os.Mkdir(l.store, 0o700))
	l.disks = &disks{dir: filepath.Join(l.dir, "disks"), lab: l}
	check(t, os.Mkdir(l.disks.dir, 0o700))
	l.image, l.kernel = baseImage(t)
	l.server = ec2test.NewServer(ec2test.Options{Disks: l.disks, Latency: ec2test.Realistic, Kill: l.cutPower})
	t.Cleanup(func() {
		for _, err := range l.wrong {
			t.Error(err)
		}
	})
	return l
}

// TestImage makes the machine image, so that this can be done beforehand.
func TestImage(t *testing.T) {
	image, kernel := baseImage(t)
	for _, path := range []string{image, kernel} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// baseImage returns the machine image and its kernel, which are kept under the hash of
// what makes them.
func baseImage(t *testing.T) (image, kernel string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	check(t, err)
	recipe := sha256.New()
	for _, path := range append([]string{"image"}, files(t, "rootfs")...) {
		text, err := os.ReadFile(path)
		check(t, err)
		fmt.Fprintf(recipe, "%s %d %s", path, len(text), text)
	}
	dir := filepath.Join(cache, "snapsource", fmt.Sprintf("vm-%x", recipe.Sum(nil)[:8]))
	image, kernel = filepath.Join(dir, "root.img"), filepath.Join(dir, "vmlinuz")
	if _, err := os.Stat(image); err == nil {
		return image, kernel
	}
	t.Log("making the machine image; it is kept in the user's cache")
	make := exec.CommandContext(t.Context(), "./image", dir)
	make.Env = append(os.Environ(), "ROOT_PARTUUID="+rootPARTUUID)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("make the machine image: %v\n%s", err, out)
	}
	return image, kernel
}

func files(t *testing.T, dir string) (paths []string) {
	t.Helper()
	check(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func (l *lab) machine(instanceID string) *machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machines[instanceID]
}

// complain notes what went wrong where no test waits for it.
func (l *lab) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Errorf(format, args...))
}

func (l *lab) release(volumeID string) {
	if err := l.server.Released(context.Background(), volumeID); err != nil {
		l.complain("release %s: %v", volumeID, err)
	}
}

func (l *lab) cutPower(string) error {
	l.mu.Lock()
	m := l.victim
	l.mu.Unlock()
	if m == nil {
		return errors.New("no machine was to lose its power")
	}
	m.cut()
	return nil
}

// snapshot makes a completed snapshot that holds a release.
func (l *lab) snapshot(t *testing.T, release string) string {
	t.Helper()
	id, err := l.server.AddSnapshot(t.Context(), ec2test.Snapshot{Size: 1, Tags: ec2test.Tags{"Name": "codepen-app"}})
	check(t, err)
	content := filepath.Join(t.TempDir(), "RELEASE")
	check(t, os.WriteFile(content, []byte(release+"\n"), 0o644))
	// mkfs.xfs fills a file system by itself: the name of a boot file, sizes, and a tree.
	tree := filepath.Join(filepath.Dir(content), "tree")
	check(t, os.WriteFile(tree, fmt.Appendf(nil, "/\n0 0\nd--755 0 0\ncodepen d--755 0 0\nRELEASE ---644 0 0 %s\n$\n$\n", content), 0o644))
	image := l.disks.image(id)
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 1<<30))
	command(t, "mkfs.xfs", "-q", "-p", tree, image)
	return id
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
