package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// local is what this host shows of a source, without AWS.
type local struct {
	record   record.Record
	known    bool            // there is a record, of a run that finished or not
	device   *mountfs.Device // of the recorded volume; nil if the kernel shows none
	mounts   []mountfs.Mount
	paths    []report.Path
	shutdown error // the file system has shut down

	lost       *mountfs.Device // still mounted, but the kernel shows it no more
	unreadable error           // why the record can't be read
	obstacle   bool            // nothing can be mounted at one of the paths
}

// observeHost reads the record and the mount table. It opens no path that only root may, but
// finds a file system that has shut down only if it may.
func (r *run) observeHost() (here local, err error) {
	if here.mounts, err = r.host.Mounts(); err != nil {
		return here, err
	}
	here.record, err = r.host.LoadRecord(r.src.Name)
	switch {
	case err == nil && here.record.Volume == "": // the mark of an early mount
	case err == nil:
		here.known = true
		if dev, err := r.host.Find(here.record.Wants()); err == nil {
			here.device = &dev
		} else if here.lost = r.lostDevice(ec2ops.Volume{ID: here.record.Volume}); here.lost != nil {
			here.paths = observePaths(r.src, here.mounts, here.lost)
			return here, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		here.unreadable = err
	}
	here.paths = observePaths(r.src, here.mounts, here.device)
	for i, p := range here.paths {
		t, err := r.host.InspectTarget(p.Path)
		switch {
		case errors.Is(err, mountfs.ErrShutdown) && here.shutdown == nil:
			here.shutdown = err
		case err != nil || p.Detail != notMounted:
		case t.State == mountfs.Occupied || t.State == mountfs.Unusable || t.State == mountfs.Protected:
			here.paths[i].Detail += ", and " + t.Detail
			here.obstacle = true
		}
	}
	return here, nil
}

// What [observePaths] says of a path.
const (
	notMounted  = "not mounted"
	insteadOfIt = " is mounted there instead"
)

// observePaths compares the mount table with what is wanted at the mountpoint and the bind
// targets. dev is the volume's device, nil if unknown.
func observePaths(src config.Source, mounts []mountfs.Mount, dev *mountfs.Device) []report.Path {
	of := func(m mountfs.Mount) bool { return dev == nil || m.Major == dev.Major && m.Minor == dev.Minor }
	observe := func(path, root string) report.Path {
		p := report.Path{Path: path, Root: root, Options: []string{}}
		m, ok := mountfs.MountAt(mounts, path)
		switch {
		case !ok:
			p.Detail = notMounted
			return p
		case m.FSType != "xfs", !of(m):
			p.Detail = fmt.Sprintf("%s (%s)%s", m.Source, m.FSType, insteadOfIt)
			return p
		case m.Root != root:
			p.Detail = fmt.Sprintf("%s of the file system is mounted there, not %s", m.Root, root)
			return p
		}
		if dev == nil { // unknown: all must at least be the same
			dev = &mountfs.Device{Major: m.Major, Minor: m.Minor}
		}
		p.Mounted, p.Options = true, strings.Split(m.Options, ",")
		if differ := mountfs.OptionsDiffer(src.MountOptions, m); len(differ) > 0 {
			p.Detail = "its options are not as configured: it " + mountfs.DescribeDifferences(differ)
		}
		return p
	}
	paths := []report.Path{observe(src.Mount, "/")}
	for _, bind := range src.Binds {
		paths = append(paths, observe(bind.Target, "/"+bind.Dir))
	}
	return paths
}

// missing says why a source is not ready; "" if it is.
func (h local) missing() string {
	var list []string
	for _, p := range h.paths {
		if p.Detail != "" {
			list = append(list, p.Path+": "+p.Detail)
		}
	}
	switch {
	case len(list) > 0:
		return strings.Join(list, "; ")
	case h.lost != nil:
		return "it is mounted, but " + h.record.Volume + " was detached from under it"
	case h.unreadable != nil:
		return "it is mounted, but the record of the last run can't be read: " + failure.Line(h.unreadable)
	case !h.known || h.record.Ready.IsZero():
		return "it is mounted, but no run of snapsource up has finished since"
	case h.device == nil:
		return "it is mounted, but the kernel shows no device of " + h.record.Volume + " as the last run recorded it"
	}
	return ""
}

// any reports whether the host shows anything of the source.
func (h local) any() bool {
	return h.device != nil || h.lost != nil || slices.ContainsFunc(h.paths, func(p report.Path) bool { return p.Mounted })
}

// advice says how to make a source ready.
func (h local) advice(src config.Source) string {
	switch {
	case h.lost != nil, h.device != nil && mountedElsewhere(h.mounts, src.Mount, *h.device) != "":
		return downAndUp
	case slices.ContainsFunc(h.paths, func(p report.Path) bool { return strings.HasSuffix(p.Detail, insteadOfIt) }):
		return "unmount what is mounted there instead, then run snapsource up"
	case h.obstacle:
		return "remove what is there, or choose another directory with mount or bind; then run snapsource up"
	}
	return "run snapsource up"
}

// growth says that the device has grown since the last run; nil if not.
func growth(r record.Record, dev mountfs.Device) []string {
	if dev.Size <= r.Size {
		return nil
	}
	return []string{fmt.Sprintf("%s has grown from %s to %s: snapsource up grows the file system", r.Volume, gib(r.Size), gib(dev.Size))}
}
