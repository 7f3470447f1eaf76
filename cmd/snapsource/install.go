package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/systemd"
)

func installCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "install",
		Short: "write and enable the systemd unit; --before makes others wait for it",
		Long: `Install writes the systemd unit that runs "snapsource up" at every boot, and enables
it. If a package has installed the unit, that one is used. Each unit named by
--before starts once the Source is mounted, also after a retry, and not before.
Install itself starts nothing: the next boot does, or systemctl start snapsource.

It keeps existing files, and overwrites none that it did not write. It refuses a
program that users other than root can write to or replace, and follows no link out
of --root.`,
		Example: "  sudo snapsource install --before puma.service --before sidekiq.service",
		Args:    noArguments,
	}
	root := rootFlag(c)
	before := c.Flags().StringArray("before", nil, "a unit that has to wait for the Source; repeatable")
	nameValues(c, "before", "UNIT")
	c.RunE = func(c *cobra.Command, _ []string) error {
		i, err := installation(c, *root)
		if err != nil {
			return err
		}
		if err := i.Install(c.Context(), *before); err != nil {
			return installError(err)
		}
		printEscaped(c.OutOrStdout(), "to see the result: systemctl status snapsource, journalctl -u snapsource\n")
		return nil
	}
	return c
}

func uninstallCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "remove the files that install wrote",
		Long: `Uninstall disables the unit and removes the files that install wrote, unless they
were changed since. Mounts stay, and services keep running.`,
		Args: noArguments,
	}
	root := rootFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		i, err := installation(c, *root)
		if err != nil {
			return err
		}
		return installError(i.Uninstall(c.Context()))
	}
	return c
}

func rootFlag(c *cobra.Command) *string {
	root := c.Flags().String("root", "/", "directory of a machine image, instead of this system")
	nameValues(c, "root", "DIR")
	_ = c.MarkFlagDirname("root") // the flag exists
	return root
}

// installation returns the Installation of this program on this system, or in an image
// that has it at the same path.
func installation(c *cobra.Command, root string) (systemd.Installation, error) {
	program, err := ownPath()
	if err != nil {
		return systemd.Installation{}, fmt.Errorf("find this program's own path: %w", err)
	}
	if !filepath.IsAbs(root) {
		return systemd.Installation{}, config.Usage(fmt.Sprintf("--root %q is not an absolute path", root))
	}
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return systemd.Installation{}, config.Usage(fmt.Sprintf("--root %s: there is no such directory", root))
	}
	i := systemd.Installation{
		Root:    filepath.Clean(root),
		Program: program,
		Tell:    func(line string) { printEscaped(c.OutOrStdout(), "%s\n", line) },
	}
	// As sd_booted(3) has it.
	if _, err := os.Stat("/run/systemd/system"); err == nil && i.Root == "/" {
		i.Control = systemctl
	}
	return i, nil
}

// ownPath is this program's. A chroot in which an image is made may have no /proc.
func ownPath() (string, error) {
	if path, err := os.Executable(); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func systemctl(ctx context.Context, arguments ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", append([]string{"--quiet"}, arguments...)...).CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// installError returns an error its exit code.
func installError(err error) error {
	switch {
	case errors.Is(err, systemd.ErrName), errors.Is(err, systemd.ErrForeign), errors.Is(err, systemd.ErrExposed):
		return config.Usage(err.Error())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", failure.ErrNotRoot, err)
	}
	return err
}
