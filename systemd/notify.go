// Package systemd contains snapsource's unit, installs it, and notifies systemd.
package systemd

import (
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Status reports the current step to systemd, for "systemctl status". Without a service
// manager (NOTIFY_SOCKET unset) it does nothing.
func Status(words ...string) {
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, w)
		}
	}
	notify("STATUS=" + strings.ReplaceAll(strings.Join(said, ": "), "\n", " "))
}

// Ready reports to systemd that the service has done its work.
func Ready() { notify(daemon.SdNotifyReady) }

// InUnit reports whether this process belongs to snapsource.service: then the unit that follows it
// does what is left to do. (cgroups(7))
func InUnit() bool {
	text, err := os.ReadFile("/proc/self/cgroup")
	return err == nil && inUnit(string(text))
}

func inUnit(cgroups string) bool {
	for line := range strings.Lines(cgroups) {
		if strings.HasSuffix(strings.TrimSpace(line), "/"+UnitName) {
			return true
		}
	}
	return false
}

// notify ignores errors: a lost notification must not keep a Source from being mounted, and
// systemd detects the end of a oneshot service by its exit code.
func notify(state string) {
	daemon.SdNotify(false, state) //nolint:errcheck
}
