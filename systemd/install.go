package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Errors of an installation.
var (
	// ErrName: an invalid unit name or program path.
	ErrName = errors.New("invalid name")
	// ErrForeign: an existing file is not ours, or was changed since we wrote it.
	ErrForeign = errors.New("not ours")
)

// Installation is the set of snapsource's files in one host's /etc/systemd/system: its
// units, unless a package has them, and two drop-ins for each unit that waits for the Source.
type Installation struct {
	Root    string                                               // "/", or an image's directory
	Program string                                               // its absolute path there
	Tell    func(line string)                                    // called for each action, and for each one left to the user
	Control func(ctx context.Context, arguments ...string) error // runs systemctl; nil if systemd doesn't run
}

const (
	unitDir = "etc/systemd/system"
	dropIn  = "50-snapsource.conf"
	enabled = unitDir + "/multi-user.target.wants/" + UnitName
)

// packageDirs are the unit directories of packages; on a merged /usr both are the same.
var packageDirs = []string{"usr/lib/systemd/system", "lib/systemd/system"}

// waits makes a unit wait. Requires keeps it from starting after a failure, After until the
// end of "up". RequiresMountsFor does neither: systemd knows of /cp only once it is
// mounted, and fstab has no line for it. At shutdown it is not necessary: systemd unmounts
// what it finds mounted after the services that follow basic.target.
const waits = "[Unit]\nRequires=" + UnitName + "\nAfter=" + UnitName + "\n"

// starts makes our unit start the one that waits. A failed attempt cancels the start of the
// units that require it, and nothing else would start them when the next attempt succeeds.
// (Measured with systemd 252, which does not have RestartMode=direct of 254.)
func starts(name string) file {
	return file{filepath.Join(unitDir, UnitName+".d", startsPrefix+name+startsSuffix), "[Unit]\nWants=" + name + "\n"}
}

const (
	startsPrefix = "50-before-"
	startsSuffix = ".conf"
)

// Install writes the unit and the drop-ins for each unit in before, and enables the unit.
// It keeps existing files, so it can be repeated and extended.
func (i Installation) Install(ctx context.Context, before []string) error {
	t, err := i.open()
	if err != nil {
		return err
	}
	defer t.root.Close()
	files, err := t.wanted(before)
	if err != nil {
		return err
	}
	// Check all files before writing any.
	for _, f := range files {
		if found := t.look(f.path); found.state == foreign || found.state == changed {
			return fmt.Errorf("%w: %s %s; move it away first", ErrForeign, i.at(f.path), found.state)
		}
	}
	reload := false
	for _, f := range files {
		wrote, err := t.write(f)
		if err != nil {
			return err
		}
		reload = reload || wrote
	}
	return t.enable(ctx, reload)
}

// wanted returns the files of an installation.
func (t tree) wanted(before []string) ([]file, error) {
	var files []file
	packaged, err := t.packaged()
	if err != nil {
		return nil, err
	}
	if packaged == "" {
		text, err := Unit(t.Program)
		if err != nil {
			return nil, err
		}
		warm, err := WarmUnit(t.Program)
		if err != nil {
			return nil, err
		}
		if err := t.checkProgram(); err != nil {
			return nil, err
		}
		files = append(files, file{filepath.Join(unitDir, UnitName), text}, file{filepath.Join(unitDir, WarmUnitName), warm})
	}
	for _, name := range before {
		if err := checkName(name); err != nil {
			return nil, err
		}
		for _, f := range []file{{filepath.Join(unitDir, name+".d", dropIn), waits}, starts(name)} {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// packaged returns the path of a package's unit, or "".
func (t tree) packaged() (string, error) {
	for _, dir := range packageDirs {
		path := filepath.Join(dir, UnitName)
		if there, err := t.exists(path); there || err != nil {
			return path, err
		}
	}
	return "", nil
}

// enable makes systemd read the new files, and start the unit at the next boot.
func (t tree) enable(ctx context.Context, reload bool) error {
	there, err := t.exists(enabled)
	if err != nil {
		return err
	}
	enable := !there
	if !reload && !enable {
		t.Tell("nothing to do")
		return nil
	}
	var steps [][]string
	if reload {
		steps = append(steps, []string{"daemon-reload"})
	}
	if enable {
		steps = append(steps, []string{"enable", UnitName})
	}
	return t.control(ctx, steps)
}

// control runs systemctl, or reports the command if systemd doesn't run.
func (i Installation) control(ctx context.Context, steps [][]string) error {
	for _, arguments := range steps {
		command := "systemctl " + strings.Join(arguments, " ")
		switch {
		case i.Control != nil:
			if err := i.Control(ctx, arguments...); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			i.Tell("ran " + command)
		case arguments[0] == "daemon-reload":
			// No systemd runs that would have to reload.
		case filepath.Clean(i.Root) != "/":
			i.Tell("left to do: systemctl --root=" + i.Root + " " + strings.Join(arguments, " "))
		default:
			i.Tell("left to do, as systemd does not run here: " + command)
		}
	}
	return nil
}

// Uninstall removes the files that Install wrote, in this run or an earlier one. It keeps
// files that were changed since, and returns an error that names them.
func (i Installation) Uninstall(ctx context.Context) error {
	t, err := i.open()
	if err != nil {
		return err
	}
	defer t.root.Close()
	ours, left, err := t.find()
	if err != nil {
		return err
	}
	there, err := t.exists(enabled)
	if err != nil {
		return err
	}
	if there && !slices.Contains(left, i.at(filepath.Join(unitDir, UnitName))) {
		if err := t.disable(ctx); err != nil {
			return err
		}
	} else if len(ours)+len(left) == 0 {
		i.Tell("nothing to do")
		return nil
	}
	for _, path := range ours {
		if err := t.root.Remove(path); err != nil {
			return t.inRoot(path, err)
		}
		i.Tell("removed " + i.at(path))
		// The directory may hold drop-ins of others; then it stays.
		if dir := filepath.Dir(path); dir != unitDir && t.root.Remove(dir) == nil {
			i.Tell("removed " + i.at(dir))
		}
	}
	if len(ours) > 0 {
		if err := i.control(ctx, [][]string{{"daemon-reload"}}); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: left as they are, changed since snapsource wrote them: %s", ErrForeign, strings.Join(left, ", "))
	}
	return nil
}

// disable undoes enable. It must precede the removal of the unit: systemctl reads there
// what to undo.
func (t tree) disable(ctx context.Context) error {
	if t.Control != nil {
		return t.control(ctx, [][]string{{"disable", UnitName}})
	}
	if err := t.root.Remove(enabled); err != nil {
		return t.inRoot(enabled, err)
	}
	t.Tell("removed " + t.at(enabled))
	return nil
}

// find returns our unchanged files, and those that were changed since.
func (t tree) find() (ours, left []string, err error) {
	paths := []string{filepath.Join(unitDir, UnitName), filepath.Join(unitDir, WarmUnitName)}
	for _, pattern := range []string{
		filepath.Join("*.d", dropIn),
		filepath.Join(UnitName+".d", startsPrefix+"*"+startsSuffix),
	} {
		matches, err := fs.Glob(t.root.FS(), filepath.Join(unitDir, pattern))
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, matches...)
	}
	for _, path := range paths {
		switch t.look(path).state {
		case intact:
			ours = append(ours, path)
		case changed:
			left = append(left, t.at(path))
		}
	}
	return ours, left, nil
}

func (i Installation) at(path string) string { return filepath.Join(i.Root, path) }
