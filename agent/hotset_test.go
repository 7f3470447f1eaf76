package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/agent/deploy"
	"snapsource/agent/hotset"
	"snapsource/agent/report"
)

// TestSnapshotHotSet: the hot set is recorded before the flush, and never keeps the snapshot from
// being taken.
func TestSnapshotHotSet(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*world)
		options deploy.Options
		want    *report.Hot
		detail  string // "" for no such step
		note    string
	}{
		"recorded": {
			func(w *world) {
				w.host.hot = hotset.Summary{Files: 312, Bytes: 291<<20 - 5, Complete: true, Size: 9000, Took: time.Second}
			},
			deploy.Options{}, &report.Hot{Files: 312, Bytes: 291<<20 - 5, Complete: true, Took: time.Second}, "312 files, 291 MiB", "",
		},
		"in part, some by hand": {
			func(w *world) { w.host.hot = hotset.Summary{Files: 3, Bytes: 1, ByHand: 2} },
			deploy.Options{}, &report.Hot{Files: 3, Bytes: 1, ByHand: 2}, "3 files, 1 MiB, not all, 2 by hand", "",
		},
		"nothing cached": {
			func(w *world) { w.host.hot = hotset.Summary{Skipped: "nothing of it is in the page cache"} },
			deploy.Options{}, nil, "not recorded: nothing of it is in the page cache", "",
		},
		"failed": {
			func(w *world) { w.host.hotErr = errors.New("no space left on device") },
			deploy.Options{}, nil, "not recorded", "the hot set is not recorded: no space left on device",
		},
		"not wanted": {func(*world) {}, deploy.Options{NoHot: true}, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := atWork(t)
				tc.prepare(w)
				r, err := w.snapshot(t, tc.options)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, r.Taken.Hot); diff != "" {
					t.Error(diff)
				}
				detail := ""
				for _, s := range r.Steps {
					if s.Step == report.HotSet {
						detail = s.Detail
					}
				}
				hot, flush := slices.Index(w.cloud.calls, "hot /cp"), slices.Index(w.cloud.calls, "flush /cp")
				if detail != tc.detail || hot > flush || (hot >= 0) == tc.options.NoHot {
					t.Errorf("step %q, calls %q", detail, w.cloud.calls)
				}
				if notes := strings.Join(r.Notes, "; "); notes != tc.note {
					t.Errorf("notes %q", notes)
				}
			})
		})
	}
}

// TestPreread: what the mount reads is read ahead on a volume from a snapshot, before it is mounted.
func TestPreread(t *testing.T) {
	for name, tc := range map[string]struct {
		world func() *world
		want  []string
	}{
		"from a snapshot": {withRelease, []string{"/dev/nvme1n1"}},
		"blank":           {newWorld, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := tc.world()
				for range 2 { // the second finds it mounted
					if _, err := w.agent.Up(t.Context(), initConfig()); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(tc.want, w.host.preread); diff != "" {
						t.Error(diff)
					}
					w.restart()
					clear(w.host.records)
				}
			})
		})
	}
}
