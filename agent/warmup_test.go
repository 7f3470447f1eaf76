package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/agent/warm"
)

// fakeWarmer reads a volume for a while, or fails.
type fakeWarmer struct {
	takes time.Duration
	err   error
	at    []warm.Mounted
	calls func() []string // of EC2, so far
	then  []string        // those before the end
}

func (w *fakeWarmer) Read(ctx context.Context, run *report.Run, at warm.Mounted, o warm.Options) (err error) {
	s := run.Begin(report.ReadHot)
	defer s.End(&err)
	w.at = append(w.at, at)
	select {
	case <-time.After(w.takes):
		err = w.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	w.then = w.calls()
	if o.Mode != config.WarmHot {
		err = errors.New("more than the hot set")
	}
	return err
}

// TestWarmBeforeService: the launch hook waits until the hot set is read, for most of the run's
// time at the longest, and gets heartbeats meanwhile; whatever comes of it, it is completed.
func TestWarmBeforeService(t *testing.T) {
	for name, tc := range map[string]struct {
		change     func(w *world, cfg *config.Config)
		warmer     fakeWarmer
		reads      int
		note       string
		heartbeats bool
	}{
		"read":              {nil, fakeWarmer{takes: 40 * time.Second}, 1, "", true},
		"it fails":          {nil, fakeWarmer{err: errors.New("EIO")}, 1, "not read yet: codepen-app: read hot: EIO", false},
		"it takes too long": {nil, fakeWarmer{takes: time.Hour}, 1, "continues in the background", true},
		"into the warm pool": {func(w *world, _ *config.Config) {
			w.cloud.group.state, w.cloud.group.target = "Warmed:Pending:Wait", "Warmed:Stopped"
		}, fakeWarmer{}, 1, "", false},
		"not wanted":        {func(_ *world, cfg *config.Config) { cfg.WarmBeforeService = false }, fakeWarmer{}, 0, "", false},
		"it is in service":  {func(w *world, _ *config.Config) { w.cloud.group.state = "InService" }, fakeWarmer{}, 0, "", false},
		"it is in no group": {func(w *world, _ *config.Config) { w.cloud.group = fakeGroup{} }, fakeWarmer{}, 0, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := inGroup()
				cfg.WarmBeforeService = true
				if tc.change != nil {
					tc.change(w, &cfg)
				}
				warmer := tc.warmer
				warmer.calls = func() []string {
					w.cloud.mu.Lock()
					defer w.cloud.mu.Unlock()
					return slices.Clone(w.cloud.calls)
				}
				w.agent.Warm = &warmer
				waits := w.cloud.group.state != "" && w.cloud.group.state != "InService"
				start := time.Now()
				result, err := w.agent.Up(t.Context(), cfg)
				if err != nil || time.Since(start) > cfg.Timeout {
					t.Fatalf("after %s: %v", time.Since(start), err)
				}
				mustBeUp(t, w)
				if len(warmer.at) != tc.reads || waits != (len(w.cloud.group.completed) == 1) {
					t.Errorf("read %d times, completed %q", len(warmer.at), w.cloud.group.completed)
				}
				if strings.Contains(strings.Join(warmer.then, " "), "CompleteLifecycleAction") {
					t.Error("the hook was completed before the hot set was read")
				}
				if got := strings.Join(result.Sources[0].Notes, "\n"); (tc.note != "") != strings.Contains(got, "hot set") || !strings.Contains(got, tc.note) {
					t.Errorf("notes %q", got)
				}
				if tc.heartbeats != (w.cloud.group.heartbeats > 0) {
					t.Errorf("%d heartbeats", w.cloud.group.heartbeats)
				}
				for _, at := range warmer.at {
					if at.Record.Volume != result.Sources[0].Volume || at.Record.Snapshot != "snap-1" || at.Mountpoint != "/cp" || at.Device.Size == 0 {
						t.Errorf("%+v", at)
					}
				}
			})
		})
	}
}

// TestStatusOfWarming: status has how far this volume was read, not another one.
func TestStatusOfWarming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		status := func() *report.Warming {
			got, err := w.agent.Status(t.Context(), config.DefaultConfig(), StatusOptions{Local: true})
			if err != nil {
				t.Fatal(err)
			}
			return got.Sources[0].Warm
		}
		if got := status(); got != nil {
			t.Errorf("before anything was read: %+v", got)
		}
		volume := w.cloud.live()[0].ID
		w.host.warming = record.Warming{Volume: volume, Mode: config.WarmHot, Hot: record.Amount{Bytes: 25, Total: 100}}
		w.host.warmingRuns = true
		if got := status(); got == nil || got.State != report.WarmingRuns || got.Hot.Percent != 25 {
			t.Errorf("%+v", got)
		}
		w.host.warmingRuns = false
		if got := status(); got == nil || got.State != report.WarmingEnded {
			t.Errorf("killed: %+v", got)
		}
		w.host.warming.Ended = time.Now()
		if got := status(); got == nil || got.State != report.WarmingDone {
			t.Errorf("%+v", got)
		}
		w.host.warming.Volume = "vol-other"
		if got := status(); got != nil {
			t.Errorf("another volume: %+v", got)
		}
		w.host.warmingRuns = true
		if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil || w.host.warmingRuns {
			t.Errorf("after down it still reads: %v", err)
		}
	})
}
