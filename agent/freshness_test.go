package agent

import (
	"testing"

	"snapsource/agent/config"
)

func TestDecideOvertaken(t *testing.T) {
	const warn, wait = config.StaleWarn, config.StaleWait
	for _, tc := range []struct {
		name                                          string
		stale                                         string
		started, serves, blank, rejected, replaceable bool
		want                                          staleAction
	}{
		{"rebooted, a newer release", wait, false, false, false, false, true, keepVolume},
		{"never announced, rejected", warn, false, false, false, true, true, replaceVolume},
		{"never announced, rejected, the only one", warn, false, false, false, true, false, failWithoutReplacement},
		{"enters service, a newer release", warn, false, true, false, false, true, replaceVolume},
		{"enters service after a stop", warn, true, true, false, false, true, replaceVolume},
		{"enters service, rejected, the only one", wait, true, true, false, true, false, failWithoutReplacement},
		{"started, by policy", wait, true, false, false, false, true, applyPolicy},
		{"started, to be told", warn, true, false, false, false, true, keepAndNote},
		{"started, its data may be nowhere else", wait, true, false, true, false, true, keepAndNote},
		{"started, rejected, the only one", wait, true, false, false, true, false, keepAndNote},
	} {
		if got := decideStaleAction(tc.stale, tc.started, tc.serves, tc.blank, tc.rejected, tc.replaceable); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}
