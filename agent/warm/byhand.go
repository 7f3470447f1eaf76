package warm

import (
	"context"
	"fmt"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
)

// RecordHotSet records the hot set of every source: what is in memory now. Later snapshots keep it.
func (w *Warm) RecordHotSet(ctx context.Context, cfg config.Config) (report.Report, error) {
	return report.Each(cfg.Sources, w.Events, func(run *report.Run, src config.Source) (err error) {
		at, err := w.find(src.Name)
		if err != nil {
			return err
		}
		run.Report.FromRecord(at.Record)
		run.Report.State = report.StateReady
		s := run.Begin(report.HotSet)
		defer s.End(&err)
		got, err := w.Kernel.RecordHotSet(ctx, at.Mountpoint)
		if err != nil {
			return failure.NotRoot(err)
		}
		s.Detail = fmt.Sprintf("recorded %d files, %s", got.Files, size(got.Bytes))
		switch {
		case got.Skipped != "":
			return failure.New(failure.ErrTemporary, "nothing is recorded: "+got.Skipped)
		case !got.Complete:
			s.Detail += "; there was no time or room for all"
		}
		return nil
	})
}
