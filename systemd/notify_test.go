package systemd

import "testing"

func TestInUnit(t *testing.T) {
	for text, want := range map[string]bool{
		"0::/system.slice/snapsource.service\n":                       true,
		"12:cpu:/\n1:name=systemd:/system.slice/snapsource.service\n": true,
		"0::/system.slice/snapsource-warm.service\n":                  false,
		"0::/system.slice/cloud-final.service\n":                      false,
		"0::/user.slice/user-0.slice/session-3.scope\n":               false,
		"0::/system.slice/not-snapsource.service/x\n":                 false,
		"": false,
	} {
		if got := inUnit(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
