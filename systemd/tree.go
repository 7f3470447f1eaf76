package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// ErrExposed means that users other than root can replace the program.
var ErrExposed = errors.New("not root's alone")

// tree is an installation with its root open: no path, and no link on it, leads out of it.
// An absolute link counts as leading out, as in [os.Root], even if it leads back.
type tree struct {
	Installation
	root *os.Root
}

func (i Installation) open() (tree, error) {
	root, err := os.OpenRoot(i.Root)
	if err != nil {
		return tree{}, err
	}
	return tree{i, root}, nil
}

// inRoot adds the root to the path in an error of os.Root.
func (t tree) inRoot(name string, err error) error {
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = fmt.Errorf("%s %s: %w", cause.Op, t.at(name), cause.Err)
	}
	return err
}

// exists says whether a path exists, of any type.
func (t tree) exists(name string) (bool, error) {
	_, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, t.inRoot(name, err)
}

// linksMax is the most links on the program's path, as in the kernel.
const linksMax = 40

// checkProgram refuses a program that users other than root can write to or replace,
// because the unit runs it as root. Root must own the file and every directory on its path,
// also behind links, and nobody else may have write permission. A sticky directory such as
// /tmp is writable: whoever can create a file there can create one before the program is
// installed.
//
// In an image the program may be missing; then the existing part of its path counts.
// Directories above the image's root do not.
func (t tree) checkProgram() error {
	done, rest := ".", strings.Split(t.Program, "/")
	if err := t.checkOwner(done); err != nil {
		return err
	}
	for links := 0; len(rest) > 0; {
		next := rest[0]
		rest = rest[1:]
		name := path.Join(done, next)
		switch next {
		case "", ".":
			continue
		case "..": // done has no links on it; above the root there is nothing
			done = path.Dir(done)
			continue
		}
		info, err := t.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return t.inRoot(name, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := t.checkOwner(name); err != nil {
				return err
			}
			done = name
			continue
		}
		target, err := t.root.Readlink(name)
		if err != nil {
			return t.inRoot(name, err)
		}
		if links++; links > linksMax {
			return fmt.Errorf("%w: %s: too many links on the way", ErrExposed, t.at(t.Program))
		}
		if path.IsAbs(target) {
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// checkOwner refuses a file that others than root can write to. The files of an image may
// belong to its builder, who changes the owner to root when packing it.
func (t tree) checkOwner(name string) error {
	info, err := t.root.Lstat(name)
	if err != nil {
		return t.inRoot(name, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	image := path.Clean(t.Root) != "/"
	why := ""
	switch {
	case !ok:
		why = "its owner can't be told"
	case stat.Uid != 0 && (!image || int(stat.Uid) != os.Geteuid()):
		why = fmt.Sprintf("its owner is user %d", stat.Uid)
	case info.Mode().Perm()&0o022 != 0:
		why = fmt.Sprintf("its mode is %04o", stat.Mode&0o7777)
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w: %s: %s; who can write to it can replace %s, which the unit runs as root: put the program where only root can write, as in /usr/local/bin",
		ErrExposed, t.at(name), why, t.Program)
}
