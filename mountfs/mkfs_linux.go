package mountfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// mkfsMin is the smallest device that mkfs.xfs accepts (since xfsprogs 5.19).
const mkfsMin = 300 << 20

// uuidForm matches a UUID of [UUIDFor]. Anything else could contain more suboptions.
var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// mkfsGrace is how long a killed mkfs.xfs may keep its pipes open.
const mkfsGrace = 5 * time.Second

// MkfsPath returns the path of mkfs.xfs, from PATH or the usual directories: user-data and
// systemd units may have a short PATH. Errors: ErrNoMkfs.
func MkfsPath() (string, error) {
	if path, err := exec.LookPath("mkfs.xfs"); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, "mkfs.xfs")); err == nil {
			return path, nil
		}
	}
	return "", ErrNoMkfs
}

// Format makes an XFS on a device that is blank or holds our own unfinished XFS; anything
// else is ErrRefused and left as it is. It probes before and after. When ctx ends, mkfs.xfs
// is killed, and Format may be called again.
func (d *Disk) Format(ctx context.Context, f Format) error {
	if err := d.format(ctx, f); err != nil {
		return fmt.Errorf("format %s: %w", d.device.Node, err)
	}
	return nil
}

func (d *Disk) format(ctx context.Context, f Format) error {
	mkfs, err := MkfsPath()
	if err != nil {
		return err
	}
	if !uuidForm.MatchString(f.UUID) {
		return fmt.Errorf("not a UUID: %q", f.UUID)
	}
	if !filepath.IsAbs(d.device.Node) {
		return fmt.Errorf("%q is not a device node", d.device.Node) // and might be a flag
	}
	for _, option := range f.Options {
		if isForceFlag(option) {
			return fmt.Errorf("mkfs.xfs option %q would overwrite data: not permitted", option)
		}
	}
	if d.device.Size < mkfsMin {
		return fmt.Errorf("%w: it has %d MB, and mkfs.xfs needs 300", ErrRefused, d.device.Size>>20)
	}
	if d.device.ReadOnly {
		return fmt.Errorf("%w: it is read-only", ErrRefused)
	}
	found, err := d.Probe(f.UUID)
	if err != nil {
		return err
	}
	if found.Kind == Unfinished {
		if err := d.clear(*found.XFS); err != nil {
			return fmt.Errorf("clear the unfinished XFS: %w", err)
		}
		if found, err = d.Probe(f.UUID); err != nil {
			return err
		}
	}
	if found.Kind != Blank {
		return fmt.Errorf("%w: it holds %s", ErrRefused, found.What)
	}
	args := []string{"-q", "-m", "uuid=" + f.UUID}
	if l := Label(f.Label); l != "" {
		args = append(args, "-L", l)
	}
	args = append(args, f.Options...)
	if err := run(ctx, mkfs, append(args, d.device.Node)...); err != nil {
		return err
	}
	if found, err = d.Probe(f.UUID); err != nil {
		return err
	}
	if found.Kind != XFS || found.XFS.UUID != f.UUID {
		return fmt.Errorf("mkfs.xfs reported success, but the device holds %s", found.What)
	}
	return nil
}

// isForceFlag reports whether an argument contains mkfs.xfs's flag -f, alone or behind
// other flags without a value.
func isForceFlag(arg string) bool {
	flags, ok := strings.CutPrefix(arg, "-")
	return ok && strings.HasPrefix(strings.TrimLeft(flags, "qKNV"), "f")
}

// clear zeroes what an unfinished mkfs.xfs of ours wrote: the head of every allocation
// group. The superblock that marks it as ours and unfinished goes last, after a sync, so
// that a crash here leaves the device Unfinished or Blank.
func (d *Disk) clear(sb Superblock) error {
	w, err := os.OpenFile(procFD(int(d.file.Fd())), os.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	// mkfs.xfs writes the first few blocks of a group, where the log starts too, and in the
	// first group inodes up to 96 KiB (xfsprogs 6.1, traced). An aligned log starts later,
	// where the next mkfs.xfs overwrites it.
	head := max(minAGBlocks*int64(sb.BlockSize), 256<<10)
	zero := func(off, end int64) error {
		if end = min(end, d.device.Size); off >= end {
			return nil
		}
		_, err := w.WriteAt(make([]byte, end-off), off)
		return err
	}
	for ag := int64(sb.AGCount) - 1; ag > 0; ag-- {
		start := ag * int64(sb.AGBlocks) * int64(sb.BlockSize)
		if err := zero(start, start+head); err != nil {
			return err
		}
	}
	if err := zero(int64(sb.SectorSize), head); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	if err := zero(0, int64(sb.SectorSize)); err != nil {
		return err
	}
	return w.Sync()
}

// run runs a program; its error contains the arguments and the program's output. The
// program is killed when ctx ends, and when this process ends.
func run(ctx context.Context, name string, args ...string) error {
	// The kernel sends Pdeathsig when the forking thread ends, and the Go runtime may end
	// an unlocked thread at any time.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = mkfsGrace
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(output.String()))
}
