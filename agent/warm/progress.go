package warm

import (
	"fmt"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/record"
	"snapsource/agent/report"
)

// done reports whether all of a mode was read.
func done(w record.Warming, mode string) bool {
	return !w.Ended.IsZero() && (w.Mode == mode || w.Mode == config.WarmAll)
}

// resume loads how far an earlier run has read this volume.
func (s *warming) resume(mode string) {
	w, err := s.Store.LoadWarming(s.Record.Source)
	if err != nil || w.Volume != s.Record.Volume || s.options.Again {
		w = record.Warming{Volume: s.Record.Volume, Began: time.Now()}
	}
	if !done(w, mode) {
		w.Mode, w.Ended, w.Error = mode, time.Time{}, ""
	}
	s.now = w
}

// shown is the progress that a person sees.
type shown struct {
	step    *report.Running
	percent int
	at      time.Time
}

func newShown(step *report.Running) *shown { return &shown{step: step, percent: -1} }

// showEvery is the shortest time between two reports of progress.
const showEvery = time.Second

// update reports the progress if it has changed.
func (s *shown) update(a record.Amount, rate float64) {
	percent := a.Percent()
	if rate == 0 || percent == s.percent || time.Since(s.at) < showEvery {
		return
	}
	s.percent, s.at = percent, time.Now()
	text := fmt.Sprintf("%s of %s, %s/s", size(a.Bytes), size(a.Total), size(int64(rate)))
	if a.Bytes < a.Total {
		left := time.Duration(float64(a.Total-a.Bytes) / rate * float64(time.Second))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	s.step.Progress(text, percent)
}

// describe says what has been read in all, and how fast this run was.
func describe(a record.Amount, before int64, took time.Duration, what string) string {
	text := size(a.Bytes) + " " + what
	if now := a.Bytes - before; now > 0 && took > 0 {
		text += fmt.Sprintf(", %s/s", size(int64(float64(now)/took.Seconds())))
	}
	return text
}

// size formats bytes for people: "7.3 MiB", "291 MiB", "1.71 GiB".
func size(n int64) string {
	const mib, gib = 1 << 20, 1 << 30
	switch {
	case n >= gib:
		return fmt.Sprintf("%.2f GiB", float64(n)/gib)
	case n >= 100*mib:
		return fmt.Sprintf("%.0f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/mib)
}
