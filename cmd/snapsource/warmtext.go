package main

import (
	"fmt"
	"strings"
	"time"

	"snapsource/agent/report"
)

// finishWarm prints the result.
func (t *table) finishWarm(s *report.Source) {
	if s.Warm == nil || s.Error != nil {
		return
	}
	text := "is warm: " + span(s.Took)
	if w := s.Warm; w.Second > 0 {
		text += fmt.Sprintf("; a first read of a block took %s, a second one %s", readTime(w.First), readTime(w.Second))
	}
	printEscaped(t.out, "%s %s\n", t.subject(s), text)
}

// warmth describes how far the blocks of a volume have been read; "" if none were.
func warmth(w *report.Warming) string {
	if w == nil {
		return ""
	}
	if w.State != report.WarmingDone && w.Hot.Total == 0 && w.Used.Total == 0 {
		return "nothing read yet, " + w.State
	}
	words := []string{"no hot set"}
	if w.Hot.Total > 0 {
		words[0] = fmt.Sprintf("hot set %d%%", w.Hot.Percent)
	}
	if w.Used.Total > 0 {
		words = append(words, fmt.Sprintf("all in use %d%%", w.Used.Percent))
	}
	if w.State == report.WarmingRuns {
		words = append(words, fmt.Sprintf("%.0f MiB/s", float64(w.Rate)/(1<<20)))
	} else {
		words = append(words, w.State)
	}
	if w.Failed > 0 {
		words = append(words, fmt.Sprintf("%d reads failed: %s", w.Failed, w.Error))
	}
	return strings.Join(words, ", ")
}

// readTime formats the time of a read.
func readTime(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
	}
	return span(d)
}
