package looptest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// NeedRoot skips the test when it does not run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loop devices and mounts")
	}
}

// Image makes a sparse file of size bytes, removed with the test.
func Image(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// Attach makes a loop device of an image and gives its node. The kernel takes
// it apart when the test ends and nothing is mounted from it any more.
func Attach(t testing.TB, image string) (node string) {
	t.Helper()
	return attach(t, image, 0)
}

// AttachReadOnly is Attach for a device that can't be written.
func AttachReadOnly(t testing.TB, image string) (node string) {
	t.Helper()
	return attach(t, image, unix.LO_FLAGS_READ_ONLY)
}

// AttachUncached is Attach without an image in the page cache: afterwards it holds there
// exactly the pages of the image that were read from the device.
func AttachUncached(t testing.TB, image string) (node string) {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The loop device shares this open file: without readahead.
	err = errors.Join(file.Sync(), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM))
	if err != nil {
		t.Fatal(err)
	}
	return attachFile(t, file, 0)
}

// Device is Image and Attach in one.
func Device(t testing.TB, size int64) (node, image string) {
	t.Helper()
	image = Image(t, size)
	return Attach(t, image), image
}

// Resize makes the device follow a new size of its image.
func Resize(t testing.TB, node, image string, size int64) {
	t.Helper()
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		t.Fatalf("resize %s: %v", node, err)
	}
}

// loopMajor is the loop devices' major number. (Linux, Documentation/admin-guide/
// devices.txt)
const loopMajor = 7

func attach(t testing.TB, image string, flags uint32) string {
	t.Helper()
	mode := os.O_RDWR
	if flags&unix.LO_FLAGS_READ_ONLY != 0 {
		mode = os.O_RDONLY
	}
	file, err := os.OpenFile(image, mode, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return attachFile(t, file, flags)
}

func attachFile(t testing.TB, file *os.File, flags uint32) string {
	t.Helper()
	mode := os.O_RDWR
	if flags&unix.LO_FLAGS_READ_ONLY != 0 {
		mode = os.O_RDONLY
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("free loop device: %v", err)
		}
		node := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(node, mode, 0)
		if errors.Is(err, fs.ErrNotExist) {
			// A container's /dev has the nodes of its start only.
			if err = unix.Mknod(node, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(n)))); err == nil {
				loop, err = os.OpenFile(node, mode, 0)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | flags
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if errors.Is(err, unix.EBUSY) {
			loop.Close() // another process was faster
			continue
		}
		if err != nil {
			loop.Close()
			t.Fatalf("configure %s: %v", node, err)
		}
		// AUTOCLEAR frees the device with its last user: us, by now or at
		// the latest when this process ends.
		t.Cleanup(func() { loop.Close() })
		return node
	}
}

const inNamespace = "LOOPTEST_MOUNT_NAMESPACE"

// PrivateMounts puts the whole test process into a mount namespace of its own,
// so that no mount of a test is seen outside or outlives it. Call it first in
// TestMain; it starts the process anew, and does nothing when not root.
func PrivateMounts() {
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		return
	}
	// A namespace belongs to a thread; exec ends all the others.
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), inNamespace+"=1"))
	}
	fmt.Fprintln(os.Stderr, "looptest: private mount namespace:", err)
	os.Exit(1)
}
