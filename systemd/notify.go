// Package systemd is what snapsource says to systemd.
package systemd

import (
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Status tells systemd what the service is doing, for "systemctl status". Without
// a service manager (NOTIFY_SOCKET unset) it does nothing.
func Status(words ...string) {
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, w)
		}
	}
	notify("STATUS=" + strings.ReplaceAll(strings.Join(said, ": "), "\n", " "))
}

// Ready tells systemd that the service has done its work.
func Ready() { notify(daemon.SdNotifyReady) }

// notify ignores failures: a lost notification must not keep a Source from being
// mounted, and systemd sees a oneshot service's end by its exit code.
func notify(state string) {
	daemon.SdNotify(false, state) //nolint:errcheck
}
