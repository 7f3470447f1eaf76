package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/launchhook"
	"snapsource/agent/record"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// StatusOptions say what [Agent.Status] asks.
type StatusOptions struct {
	Local  bool // only this host: no call to AWS
	Remote bool // also whether there is a newer release
}

// Status reports the state of every source, as the kernel, the record and, if the source is
// not ready, EC2 show it. It needs no root. The error for a source wraps
// [failure.ErrNotReady], or [failure.ErrUnknown] if EC2 could not be asked.
func (a *Agent) Status(ctx context.Context, cfg config.Config, o StatusOptions) (report.Report, error) {
	if err := a.supported(); err != nil {
		return report.Report{}, err
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	return report.Each(cfg.Sources, a.Events, func(r *report.Run, src config.Source) error {
		run := a.run(r, cfg, src)
		return run.status(r.WithPauses(ctx), o)
	})
}

func (r *run) status(ctx context.Context, o StatusOptions) error {
	here, err := r.observeHost()
	if err != nil {
		return r.unknown("the state", err)
	}
	r.Report.Paths = here.paths
	if here.known {
		r.Report.FromRecord(here.record)
		r.Report.Revision = r.revision(here)
	}
	if here.shutdown != nil {
		r.Report.State = report.StateIncomplete
		return failure.Advise(r.notReady(failure.Line(here.shutdown)), failure.Hint(here.shutdown))
	}
	if why := here.missing(); why != "" {
		return r.statusOfVolume(ctx, here, why, o)
	}
	r.Report.State = report.StateReady
	for _, note := range append(drift(r.src, here.record, here.mounts, *here.device), growth(here.record, *here.device)...) {
		r.Note(note)
	}
	if !o.Remote {
		return nil
	}
	if err := r.findNewer(ctx); err != nil {
		return r.unknown("the Source is ready, but whether there is a newer release", err)
	}
	return nil
}

// statusOfVolume completes the status of a source that is not ready, unless only this host
// is to be asked.
func (r *run) statusOfVolume(ctx context.Context, here local, why string, o StatusOptions) error {
	r.Report.Ready = nil
	r.Report.State = report.StateAbsent
	if here.any() {
		r.Report.State = report.StateIncomplete
	}
	notReady := failure.Advise(r.notReady(why), here.advice())
	if o.Local {
		return notReady
	}
	volumes, err := r.listVolumes(ctx)
	switch {
	case err != nil && here.any(): // so it is certainly not ready
		r.Note("EC2 could not be asked for the volume: " + failure.Line(err))
		return notReady
	case err != nil:
		r.Report.State = report.StateUnknown
		return r.unknown("the state", err)
	}
	choice, err := chooseVolume(r.src.Name, r.Self.InstanceID, volumes)
	if err != nil {
		return r.unknown("the state", err)
	}
	if v := choice.volume; v != nil {
		r.Report.State = report.StateIncomplete
		r.Report.Volume, r.Report.VolumeState, r.Report.Snapshot = v.ID, v.State, v.SnapshotID
		if at, ok := v.AttachmentTo(r.Self.InstanceID); ok {
			r.Report.Device = at.Device
		}
		if dev, err := r.deviceOf(*v); err == nil && dev != nil {
			r.Report.Node = dev.Node
		}
	}
	if !o.Remote {
		return notReady
	}
	if err := r.findNewer(ctx); err != nil {
		r.Note("whether there is a newer release is not known: " + failure.Line(err))
	}
	return notReady
}

// notReady is the error of a source that is not ready.
func (r *run) notReady(why string) error {
	return failure.New(failure.ErrNotReady, r.src.Name+": the Source is not ready: "+why)
}

// unknown is the error of a status that could not be found out.
func (r *run) unknown(what string, err error) error {
	why := strings.TrimPrefix(failure.Line(err), r.src.Name+": ") // of a step
	return failure.Advise(failure.New(failure.ErrUnknown, r.src.Name+": "+what+" is not known: "+why), failure.Hint(err))
}

func (r *run) listVolumes(ctx context.Context) (volumes []ec2ops.Volume, err error) {
	if err := r.identify(ctx, launchhook.New(r.cloud.Group, "")); err != nil {
		return nil, err
	}
	defer r.InEC2()()
	return r.cloud.Volumes.Volumes(ctx, r.Self.InstanceID, r.src.Name)
}

// findNewer reports the newest release if it is newer than the volume's.
func (r *run) findNewer(ctx context.Context) error {
	if r.Self.InstanceID == "" {
		if err := r.identify(ctx, launchhook.New(r.cloud.Group, "")); err != nil {
			return err
		}
	}
	defer r.InEC2()()
	snapshots, err := r.cloud.Snapshots.Snapshots(ctx, r.src.Name)
	if err != nil {
		return err
	}
	r.Report.Compared = true
	catalogue := releases.Of(r.src.Name, snapshots)
	var newer ec2ops.Snapshot
	found := false
	if r.Report.Volume == "" {
		var none error
		newer, none = catalogue.Newest()
		found = none == nil
	} else {
		v, err := r.cloud.Volumes.Volume(ctx, r.Report.Volume)
		if err != nil {
			return err
		}
		newer, found = catalogue.NewerThan(v)
	}
	if found {
		r.Report.Newer = &report.Release{Snapshot: newer.ID, State: newer.State, Start: newer.Start, Revision: newer.Tags[ec2ops.TagRevision]}
	}
	return nil
}

// revision returns the revision of the release in the Source, as its files say; else that of
// the snapshot; "" if neither is known.
func (r *run) revision(here local) string {
	for _, p := range slices.Backward(here.paths) { // the binds first, so that the release's links resolve
		if !p.Mounted {
			continue
		}
		if found := r.host.Revision(p.Path); found != "" {
			return found
		}
	}
	return here.record.Revision
}

// local is what this host shows of a source, without AWS.
type local struct {
	record   record.Record
	known    bool            // there is a record, of a run that finished or not
	device   *mountfs.Device // of the recorded volume; nil if the kernel shows none
	mounts   []mountfs.Mount
	paths    []report.Path
	shutdown error // the file system has shut down
}

// observeHost reads the record and the mount table. It opens no path that only root may, but
// finds a file system that has shut down only if it may.
func (r *run) observeHost() (here local, err error) {
	if here.mounts, err = r.host.Mounts(); err != nil {
		return here, err
	}
	here.record, err = r.host.LoadRecord(r.src.Name)
	if here.known = err == nil; here.known {
		if dev, err := r.host.Find(here.record.Wants()); err == nil {
			here.device = &dev
		}
	}
	here.paths = observePaths(r.src, here.mounts, here.device)
	for _, p := range here.paths {
		if _, err := r.host.InspectTarget(p.Path); errors.Is(err, mountfs.ErrShutdown) {
			here.shutdown = err
			break
		}
	}
	return here, nil
}

// observePaths compares the mount table with what is wanted at the mountpoint and the bind
// targets. dev is the volume's device, nil if unknown.
func observePaths(src config.Source, mounts []mountfs.Mount, dev *mountfs.Device) []report.Path {
	var whole *mountfs.Mount // the file system, if it is at the mountpoint
	observe := func(path, root string) report.Path {
		p := report.Path{Path: path, Root: root, Options: []string{}}
		m, ok := mountfs.MountAt(mounts, path)
		switch {
		case !ok:
			p.Detail = "not mounted"
			return p
		case m.FSType != "xfs", dev != nil && (m.Major != dev.Major || m.Minor != dev.Minor), root != "/" && (whole == nil || m.Major != whole.Major || m.Minor != whole.Minor):
			p.Detail = fmt.Sprintf("%s (%s) is mounted there instead", m.Source, m.FSType)
			return p
		case m.Root != root:
			p.Detail = fmt.Sprintf("%s of the file system is mounted there, not %s", m.Root, root)
			return p
		}
		if root == "/" {
			whole = &m
		}
		p.Mounted, p.Options = true, strings.Split(m.Options, ",")
		if differ := mountfs.OptionsDiffer(src.MountOptions, m); len(differ) > 0 {
			p.Detail = "its options differ: " + strings.Join(differ, " ")
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
	case !h.known || h.record.Ready.IsZero():
		return "it is mounted, but no run of snapsource up has finished since"
	case h.device == nil:
		return "it is mounted, but the kernel shows no device of " + h.record.Volume + " as the last run recorded it"
	}
	return ""
}

// any reports whether the host shows anything of the source.
func (h local) any() bool {
	return h.device != nil || slices.ContainsFunc(h.paths, func(p report.Path) bool { return p.Mounted })
}

// advice says how to make a source ready.
func (h local) advice() string {
	if slices.ContainsFunc(h.paths, func(p report.Path) bool { return strings.HasSuffix(p.Detail, "mounted there instead") }) {
		return "unmount what is mounted there, then run snapsource up"
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
