package deploy

import (
	"context"
	"fmt"

	"snapsource/agent/failure"
	"snapsource/agent/report"
)

// recordHotSet records which parts of the Source are in use, for the first reads of volumes that are
// created from the snapshot. It returns nil if nothing was recorded. A failure is only a note: the
// snapshot is as good without.
//
// It comes before the flush, so that the freeze has as little as possible to write.
func (s *snapshot) recordHotSet(ctx context.Context, at mounted) *report.Hot {
	step := s.run.Begin(report.HotSet)
	var none error
	defer step.End(&none)
	sum, err := s.Host.RecordHotSet(ctx, at.mountpoint)
	switch {
	case err != nil:
		step.Detail = "not recorded"
		s.run.Note("the hot set is not recorded: " + failure.Line(err))
		return nil
	case sum.Skipped != "":
		step.Detail = "not recorded: " + sum.Skipped
		return nil
	}
	step.Detail = fmt.Sprintf("%d files, %d MiB", sum.Files, (sum.Bytes+1<<20-1)>>20)
	if !sum.Complete {
		step.Detail += ", not all"
	}
	if sum.ByHand > 0 {
		step.Detail += fmt.Sprintf(", %d by hand", sum.ByHand)
	}
	return &report.Hot{Files: sum.Files, Bytes: sum.Bytes, Complete: sum.Complete, ByHand: sum.ByHand, Took: sum.Took}
}
