package agent

import (
	"context"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/agent/warm"
)

// warmBeforeService reads the hot set before the launch hook is completed, if that is configured.
// It is never a reason for the launch to fail: it takes at most three quarters of the run's
// remaining time, and what is left is read in the background.
func (l *launch) warmBeforeService(ctx context.Context, m mounted) {
	if !l.cfg.WarmBeforeService {
		return
	}
	short, cancel := ctx, context.CancelFunc(func() {})
	if end, limited := ctx.Deadline(); limited {
		short, cancel = context.WithTimeoutCause(ctx, time.Until(end)*3/4,
			failure.New(failure.ErrTemporary, "the launch has no more time for it; it continues in the background"))
	}
	defer cancel()
	at := warm.Mounted{Record: l.recordOf(m, nil), Device: m.device, Mountpoint: l.src.Mount}
	if err := l.warmer.Read(short, l.Run, at, warm.Options{Mode: config.WarmHot}); err != nil {
		l.Note("the hot set is not read yet: " + failure.Line(err))
	}
}

// endWarmingTimeout bounds the wait for the end of a process that reads a volume. It ends within
// a read, unless the device does not respond.
const endWarmingTimeout = 5 * time.Second

// endWarming ends the process that reads the source's volume, before it is unmounted: it has the
// device and files open.
func (r *run) endWarming(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, endWarmingTimeout)
	defer cancel()
	if err := r.host.EndWarming(short, r.src.Name); err != nil {
		r.Note("snapsource warm could not be ended: " + failure.Line(err))
	}
}

// observeWarming reports how far the volume's blocks have been read, if any were.
func (r *run) observeWarming() {
	w, err := r.host.LoadWarming(r.src.Name)
	if err != nil || w.Volume == "" || w.Volume != r.Report.Volume {
		return
	}
	r.Report.Warm = report.WarmingOf(w, r.host.WarmingRuns(r.src.Name))
}
