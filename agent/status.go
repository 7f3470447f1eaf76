package agent

import (
	"context"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/launchhook"
	"snapsource/agent/record"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
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
		r.observeWarming()
	}
	if here.shutdown != nil {
		r.Report.State = report.StateIncomplete
		return failure.Advise(r.notReady(failure.Line(here.shutdown)), failure.Hint(here.shutdown))
	}
	if why := here.missing(); why != "" {
		return r.statusOfVolume(ctx, here, why, o)
	}
	r.Report.State = report.StateReady
	r.noteDrift(ctx, here, o)
	if !o.Remote {
		return nil
	}
	if err := r.findNewer(ctx); err != nil {
		return r.unknown("the Source is ready, but whether there is a newer release", err)
	}
	return nil
}

// noteDrift names the settings that do not hold. What the record has of the volume may be old, so
// EC2 is asked before it is said, if it may be.
func (r *run) noteDrift(ctx context.Context, here local, o StatusOptions) {
	notes := driftOfVolume(r.src, here.record)
	if len(notes) > 0 {
		asked := false
		if !o.Local {
			if facts, err := r.currentFacts(ctx, here.record.Volume); err == nil {
				here.record.Facts, asked = facts, true
				notes = driftOfVolume(r.src, here.record)
			}
		}
		for i := range notes {
			if !asked {
				notes[i] = "when up last ran, " + notes[i]
			}
		}
	}
	for _, note := range slices.Concat(notes, driftOfMounts(r.src, here.record, here.mounts, *here.device), growth(here.record, *here.device)) {
		r.Note(note)
	}
}

// currentFacts asks EC2 for the volume.
func (r *run) currentFacts(ctx context.Context, id string) (record.Facts, error) {
	if err := r.identify(ctx, launchhook.New(r.cloud.Group, "")); err != nil {
		return record.Facts{}, err
	}
	defer r.InEC2()()
	v, err := r.cloud.Volumes.Volume(ctx, id)
	return factsOf(v), err
}

// statusOfVolume completes the status of a source that is not ready, unless only this host
// is to be asked.
func (r *run) statusOfVolume(ctx context.Context, here local, why string, o StatusOptions) error {
	r.Report.Ready = nil
	r.Report.State = report.StateAbsent
	if here.any() {
		r.Report.State = report.StateIncomplete
	}
	notReady := failure.Advise(r.notReady(why), here.advice(r.src))
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
	hint := failure.Hint(err)
	if failure.ExitCode(err) == failure.ExitTemporary {
		hint = "run it again" // there is nothing to continue
	}
	return failure.Advise(failure.New(failure.ErrUnknown, r.src.Name+": "+what+" is not known: "+why), hint)
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
		r.Report.Newer = &report.Release{Snapshot: newer.ID, State: newer.State, Start: releases.Taken(&newer), Revision: newer.Tags[ec2ops.TagRevision]}
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
