package agent

import (
	"context"
	"fmt"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/launchhook"
	"snapsource/agent/record"
	"snapsource/agent/report"
)

// Status reports the state of every source. For a source that is not ready it returns an
// error that wraps [failure.ErrTemporary], so that scripts can use the exit code.
func (a *Agent) Status(ctx context.Context, cfg config.Config) (report.Report, error) {
	if err := a.supported(); err != nil {
		return report.Report{}, err
	}
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	return report.Each(cfg.Sources, a.Events, func(r *report.Run, src config.Source) error {
		if known, ready := record.Ready(a.Host, a.Host, src); ready {
			r.Report.FromRecord(known)
			r.Report.State = report.StateReady
			return nil
		}
		l := &launch{run: a.run(r, cfg, src), hook: launchhook.New(a.Cloud.Group, "")}
		return l.status(ctx)
	})
}

func (l *launch) status(ctx context.Context) error {
	ctx, end := l.background.scope(l.WithPauses(ctx))
	defer end()
	if err := l.identify(ctx, l.hook); err != nil {
		return err
	}
	obs, err := l.survey(ctx)
	if err != nil {
		return err
	}
	l.Report.State = volumeState(obs.choice.volume)
	if v := obs.choice.volume; v != nil {
		l.Report.Volume, l.Report.Snapshot = v.ID, v.SnapshotID
		if at, ok := v.AttachmentTo(l.Self.InstanceID); ok {
			l.Report.Device = at.Device
		}
	}
	if obs.device != nil {
		l.Report.Node = obs.device.Node
	}
	return fmt.Errorf("%s: %w: the Source is not ready (%s)", l.src.Name, failure.ErrTemporary, obs)
}
