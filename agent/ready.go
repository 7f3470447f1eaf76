package agent

import (
	"context"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/record"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// nothingToDo reports whether the result of an earlier run is still in place, the configured
// roles were announced, the device has not grown, the volume was as configured, and the launch
// hook is done. If so, it reports the source as ready. If the volume was not as configured, only
// EC2 knows whether it is now.
func (l *launch) nothingToDo(ctx context.Context) bool {
	r, dev, ready := record.Ready(l.host, l.host, l.src)
	if !ready || len(driftOfVolume(l.src, r)) > 0 || !l.cfg.Roles.None() && r.Roles != record.Digest(l.cfg.Roles) || dev.Size > r.Size || !l.hook.NothingToDo(ctx, r) {
		return false
	}
	l.reportReady(r, dev)
	return true
}

// reportReady reports a source that this run or an earlier one made ready.
func (l *launch) reportReady(r record.Record, dev mountfs.Device) {
	l.Report.FromRecord(r)
	l.Report.State = report.StateReady
	mounts, err := l.host.Mounts()
	if err != nil {
		return // record.Ready has read them a moment ago
	}
	l.Report.Paths = observePaths(l.src, mounts, &dev)
	for _, note := range drift(l.src, r, mounts, dev) {
		l.Note(note)
	}
}

// saveRecord saves the record of a source that is ready, and reports it.
func (l *launch) saveRecord(m mounted) error {
	var before *record.Record // of the same volume
	if r, err := l.host.LoadRecord(l.src.Name); err == nil && r.Volume == m.volume.ID && !r.Ready.IsZero() {
		before = &r
	}
	r := l.recordOf(m, before)
	if err := l.host.SaveRecord(r); err != nil {
		return err
	}
	l.reportReady(r, m.device)
	return nil
}

// recordOf returns the record of a source that is ready.
func (l *launch) recordOf(m mounted, before *record.Record) record.Record {
	v := m.volume
	r := record.Record{
		Source: l.src.Name, Roles: record.Digest(l.cfg.Roles), Instance: l.Self.InstanceID, Region: l.Self.Region, Zone: l.Self.Zone,
		Volume: v.ID, Facts: factsOf(v), Snapshot: v.SnapshotID, Device: m.attachment.Device,
		Node: m.device.Node, Major: m.device.Major, Minor: m.device.Minor, Size: m.device.Size,
		Ready: time.Now(), Applied: applied(l.src, m, before),
	}
	r.Announced = l.cfg.Roles
	if l.cfg.Roles.None() && before != nil {
		r.Announced = before.Announced
	}
	if s, listed := l.ownSnapshot(m.placed); listed {
		taken := releases.Taken(&s)
		r.Taken, r.CopyOf, r.Revision = &taken, releases.Origin(&s), s.Tags[ec2ops.TagRevision]
	} else if before != nil {
		r.Taken, r.CopyOf, r.Revision = before.Taken, before.CopyOf, before.Revision
	}
	if l.hook.Record(&r); l.hook.ToBeWarmed() { // the roles follow when it enters service
		r.Roles, r.Announced = "", config.Roles{}
	}
	return r
}

// ownSnapshot returns the snapshot of a volume if it is among those that survey has listed. It
// does not wait for the list.
func (l *launch) ownSnapshot(p placed) (ec2ops.Snapshot, bool) {
	if p.listed == nil {
		return ec2ops.Snapshot{}, false
	}
	select {
	case <-p.listed.done:
	default:
		return ec2ops.Snapshot{}, false
	}
	for _, s := range p.listed.value {
		if s.ID == p.volume.SnapshotID {
			return s, true
		}
	}
	return ec2ops.Snapshot{}, false
}
