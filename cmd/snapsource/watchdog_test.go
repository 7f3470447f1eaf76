package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/failure"
	"snapsource/agent/report"
)

// watched is a watchdog, and how it has ended the program.
type watched struct {
	*watchdog
	began time.Time
	after time.Duration // 0: it has not
	code  int
	said  error
	deaf  chan struct{} // stderr answers when it is closed
}

func newWatched() *watched {
	w := &watched{watchdog: newWatchdog(), began: time.Now(), deaf: make(chan struct{})}
	w.exit = func(code int) { w.code, w.after = code, time.Since(w.began) }
	w.report = func(err error) { w.said = err }
	return w
}

// TestWatchdog: work that does not end is ended, when its time and that to give back are
// over, or by a second signal.
func TestWatchdog(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(w *watched)
		after   time.Duration
		says    string
	}{
		"deadline":    {func(w *watched) { w.allow("up", 10*time.Minute, undoGrace) }, 10*time.Minute + undoGrace, "not done within 10m0s"},
		"no deadline": {func(w *watched) { w.allow("install", 0, endGrace) }, 0, ""},
		"later deadline": {func(w *watched) {
			w.allow("read the configuration", configTimeout, endGrace)
			time.Sleep(time.Second)
			w.allow("up", time.Hour, endGrace)
		}, time.Hour + endGrace + time.Second, "up, "},
		"one signal": {func(w *watched) {
			w.allow("up", time.Hour, undoGrace)
			if !w.signalled("SIGTERM") {
				t.Error("the first signal does not end the work")
			}
		}, undoGrace, "not ended 2m30s after SIGTERM"},
		"one signal, sent twice": {func(w *watched) {
			w.allow("up", time.Hour, undoGrace)
			w.signalled("SIGTERM")
			time.Sleep(repeatWindow / 2)
			w.signalled("SIGTERM")
		}, undoGrace, "not ended 2m30s after SIGTERM"},
		"a second signal": {func(w *watched) {
			w.allow("up", time.Hour, undoGrace)
			w.event(report.Event{Source: "codepen-app", Step: report.Survey, Phase: report.Started})
			w.signalled("SIGTERM")
			time.Sleep(5 * time.Second)
			if w.signalled("SIGINT") {
				t.Error("it is the first")
			}
		}, 5 * time.Second, "codepen-app: survey, 5.00 s in: a second signal, SIGINT"},
		"stderr does not answer either": {func(w *watched) {
			w.report = func(err error) { w.said = err; <-w.deaf }
			w.allow("up", time.Minute, endGrace)
		}, time.Minute + endGrace + reportTimeout, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched()
				tc.happens(w)
				time.Sleep(2 * time.Hour)
				close(w.deaf)
				synctest.Wait()
				if w.after != tc.after || tc.after > 0 && (w.code != failure.ExitTemporary || failure.ExitCode(w.said) != failure.ExitTemporary) {
					t.Errorf("ended after %s, want %s, with %d: %v", w.after, tc.after, w.code, w.said)
				}
				if tc.says != "" && (w.said == nil || !strings.Contains(w.said.Error(), tc.says)) {
					t.Errorf("%v; want %q", w.said, tc.says)
				}
			})
		})
	}
}
