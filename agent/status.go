package agent

import (
	"context"
	"fmt"
	"snapsource/agent/config"
	"snapsource/agent/failure"
)

// Status reports what is there, for every source. A source that is not ready is an
// error that wraps [ErrTemporary], so that scripts see it by the exit code.
func (a *Agent) Status(ctx context.Context, cfg config.Config) (Report, error) {
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	return a.eachSource(cfg, func(b *boot) error {
		if r, ok := b.stillReady(); ok {
			b.report.fromRecord(r)
			b.report.State = StateReady
			return nil
		}
		return b.owning(ctx, b.status)
	})
}

func (b *boot) status(ctx context.Context) error {
	self, err := b.identify(ctx)
	if err != nil {
		return err
	}
	sv, err := b.survey(ctx, self)
	if err != nil {
		return err
	}
	b.report.State = volumeState(sv.choice.volume)
	if v := sv.choice.volume; v != nil {
		b.report.Volume, b.report.Snapshot = v.ID, v.SnapshotID
		if at, ok := v.AttachmentTo(self.InstanceID); ok {
			b.report.Device = at.Device
		}
	}
	if sv.device != nil {
		b.report.Node = sv.device.Node
	}
	return fmt.Errorf("%s: %w: the Source is not ready (%s)", b.src.Name, failure.ErrTemporary, sv)
}
