package report

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
)

// TestTogether: sources run at the same time, and their events come in blocks: the first one's at once,
// the others' behind it, but those of one that has failed when it fails.
func TestTogether(t *testing.T) {
	errFailed := errors.New("failed")
	for name, tc := range map[string]struct {
		takes map[string]time.Duration
		fails string
		want  string
	}{
		"one after the other": {map[string]time.Duration{"a": 1, "b": 2, "c": 3}, "", "a1 a2 b1 b2 c1 c2"},
		"the last is first":   {map[string]time.Duration{"a": 3, "b": 2, "c": 1}, "", "a1 a2 b1 b2 c1 c2"},
		"one in the middle":   {map[string]time.Duration{"a": 2, "b": 1, "c": 3}, "", "a1 a2 b1 b2 c1 c2"},
		"one fails early":     {map[string]time.Duration{"a": 2, "b": 3, "c": 1}, "c", "a1 c1 c2 a2 b1 b2"},
		"the first fails":     {map[string]time.Duration{"a": 2, "b": 1, "c": 3}, "a", "a1 a2 b1 b2 c1 c2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var got []string
				events := func(e Event) {
					if !mu.TryLock() {
						t.Error("events is called concurrently")
						return
					}
					defer mu.Unlock()
					got = append(got, e.Source+e.Detail)
				}
				start := time.Now()
				report, err := Together([]config.Source{{Name: "a"}, {Name: "b"}, {Name: "c"}}, events, func(r *Run, src config.Source) error {
					r.Note("1")
					time.Sleep(tc.takes[src.Name] * time.Second)
					r.Note("2")
					if src.Name == tc.fails {
						return errFailed
					}
					return nil
				})
				if (err != nil) != (tc.fails != "") || time.Since(start) != 3*time.Second {
					t.Errorf("%v, after %s", err, time.Since(start))
				}
				if names := []string{report.Sources[0].Source, report.Sources[1].Source, report.Sources[2].Source}; !slices.Equal(names, []string{"a", "b", "c"}) {
					t.Errorf("reports of %v", names)
				}
				if text := strings.Join(got, " "); text != tc.want {
					t.Errorf("got %s\nwant %s", text, tc.want)
				}
			})
		})
	}
}
