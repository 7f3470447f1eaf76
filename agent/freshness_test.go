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
		want                                          overtaking
	}{
		{"rebooted, a newer release", wait, false, false, false, false, true, goOn},
		{"never announced, rejected", warn, false, false, false, true, true, replaceAlways},
		{"never announced, rejected, the only one", warn, false, false, false, true, false, noReplacement},
		{"enters service, a newer release", warn, false, true, false, false, true, replaceAlways},
		{"enters service after a stop", warn, true, true, false, false, true, replaceAlways},
		{"enters service, rejected, the only one", wait, true, true, false, true, false, noReplacement},
		{"started, by policy", wait, true, false, false, false, true, replaceByPolicy},
		{"started, to be told", warn, true, false, false, false, true, tellOfNewer},
		{"started, its data may be nowhere else", wait, true, false, true, false, true, tellOfNewer},
		{"started, rejected, the only one", wait, true, false, false, true, false, tellOfNewer},
	} {
		if got := decideOvertaken(tc.stale, tc.started, tc.serves, tc.blank, tc.rejected, tc.replaceable); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}
