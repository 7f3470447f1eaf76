package agent

import (
	"context"
	"slices"
	"time"

	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// asked is what a survey has requested of EC2, in the background, and what this host shows meanwhile.
type asked struct {
	step      *report.Running        // survey
	launched  ec2ops.LaunchDevices   // if more than the root volume came with the launch
	shown     []mountfs.VolumeDevice // then also the volumes whose devices the kernel shows
	arrivals  bool                   // volumes lists the attached ones, of any tags
	targets   []mountfs.Target
	targetErr error
	list      func(context.Context) ([]ec2ops.Volume, error)
	volumes   *future[[]ec2ops.Volume]
	snapshots *future[[]ec2ops.Snapshot] // nil: to be listed once the Source is mounted; see [launch.listsLate]
}

// ask begins the survey: it requests the volumes and the snapshots. all is the context of calls that
// are made once for all sources of the run. A further attempt asks for its own source.
func (l *launch) ask(ctx, all context.Context) (q asked) {
	survey := l.Begin(report.Survey)
	once := l.limiter.First(ctx, l.Self)
	if len(l.gone) > 0 {
		q = l.request(once, &l.background, []string{l.src.Name})
	} else {
		q, _ = l.shared.asked.get(func() (asked, error) {
			return l.request(l.limiter.First(all, l.Self), &l.shared.calls, l.shared.names()), nil
		})
	}
	q.list = l.listTagged
	if q.arrivals {
		q.list = l.listAttached(q.shown)
	}
	if slices.Contains(q.launched.EBS, l.src.Device) {
		l.limiter.Arrives(!l.cfg.Roles.None())
	}
	q.step = survey
	q.targets, q.targetErr = l.inspectTargets()
	return q
}

// request makes the calls of ask. If volumes came with the launch it lists the attached ones, which
// has those that no run has tagged yet; else the instance's by their tags.
func (l *launch) request(ctx context.Context, b *background, sources []string) (q asked) {
	launched, known := l.cloud.Metadata.LaunchDevices(ctx)
	q.launched, q.arrivals = launched, !known || len(launched.EBS) > 0
	if !q.arrivals || !l.listsLate() {
		q.snapshots = inBackground(b, func() ([]ec2ops.Snapshot, error) { return l.cloud.Snapshots.Snapshots(ctx, sources...) })
	}
	list := func(ctx context.Context) ([]ec2ops.Volume, error) {
		return l.cloud.Volumes.Volumes(ctx, l.Self.InstanceID, sources...)
	}
	if q.arrivals {
		q.shown, _ = l.host.VolumeDevices() // without them EC2 is asked first
		list = l.listAttached(q.shown)
	}
	q.volumes = inBackground(b, func() ([]ec2ops.Volume, error) { return list(ctx) })
	return q
}

// listsLate reports whether the snapshots are listed only once a volume that arrived is mounted. Where
// nothing but the mount announces the instance, no deployment can miss it from then on, so that this
// list is also the check for newer releases. With roles or a launch hook, that check follows them.
func (l *launch) listsLate() bool {
	return len(l.shared.sources) == 1 && l.cfg.Roles.None() && l.hook.Name() == ""
}

// listLate lists the snapshots if that is still to be done.
func (l *launch) listLate(ctx context.Context, list *future[[]ec2ops.Snapshot]) *future[[]ec2ops.Snapshot] {
	if list != nil {
		return list
	}
	once := l.limiter.First(ctx, l.Self)
	return inBackground(&l.background, func() ([]ec2ops.Snapshot, error) { return l.cloud.Snapshots.Snapshots(once, l.src.Name) })
}

func (l *launch) listTagged(ctx context.Context) ([]ec2ops.Volume, error) {
	return l.cloud.Volumes.Volumes(ctx, l.Self.InstanceID, l.src.Name)
}

// listAttached returns a function that lists the attached volumes. It polls while the kernel shows a
// volume that EC2 does not list: EC2 is eventually consistent, and an instance has just been launched.
func (l *launch) listAttached(shown []mountfs.VolumeDevice) func(context.Context) ([]ec2ops.Volume, error) {
	return func(ctx context.Context) ([]ec2ops.Volume, error) {
		for until := time.Now().Add(appearTimeout); ; {
			all, err := l.cloud.Volumes.Attached(ctx, l.Self.InstanceID)
			if err != nil || len(unlisted(shown, all)) == 0 || !time.Now().Before(until) {
				return all, err
			}
			if err := l.Pause(ctx, consistencyPoll, "EC2 to list the attached volumes"); err != nil {
				return nil, err
			}
		}
	}
}

// unlisted returns the ids of volumes that the kernel shows and EC2 does not list as attached.
func unlisted(shown []mountfs.VolumeDevice, all []ec2ops.Volume) (ids []string) {
	for _, d := range shown {
		if !slices.ContainsFunc(all, func(v ec2ops.Volume) bool { return v.ID == d.Volume }) {
			ids = append(ids, d.Volume)
		}
	}
	return ids
}
