package failure

import (
	"fmt"
	"syscall"
	"testing"

	"snapsource/mountfs"
)

// Whatever mount(2) answers, the exit code says what it is about. 70, a bug of
// ours, is left for what mount(2) never gives.
func TestExitCodeOfMount(t *testing.T) {
	for errno, want := range map[syscall.Errno]int{
		syscall.EINVAL:     ExitRefused,
		syscall.EUCLEAN:    ExitRefused,
		syscall.EBADMSG:    ExitRefused,
		syscall.EIO:        ExitRefused,
		syscall.EROFS:      ExitRefused,
		syscall.ENOSYS:     ExitRefused,
		syscall.EOPNOTSUPP: ExitRefused,
		syscall.EFBIG:      ExitRefused,
		syscall.ENODEV:     ExitUsage,
		syscall.ENOMEM:     ExitTemporary,
		syscall.EBUSY:      ExitTemporary,
		syscall.EPERM:      ExitDenied,
		syscall.ENOTTY:     ExitBug,
	} {
		err := NotRoot(fmt.Errorf("mount: %w", &mountfs.MountError{Op: "mount", Source: "/dev/nvme1n1", Target: "/cp", Err: errno}))
		if got := ExitCode(err); got != want {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
	err := fmt.Errorf("%w: %w", mountfs.ErrOption, &mountfs.MountError{Op: "mount", Err: syscall.EINVAL})
	if got := ExitCode(err); got != ExitUsage {
		t.Errorf("%v: exit code %d, want %d", err, got, ExitUsage)
	}
}
