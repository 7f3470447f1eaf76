package systemd

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// journalSocket is where journald takes entries with fields. (systemd.io/JOURNAL_NATIVE_PROTOCOL)
const journalSocket = "/run/systemd/journal/socket"

// journalTimeout is how long journald may take for an entry. Its socket holds some hundred entries, so that
// only one that does not respond at all makes anybody wait.
const journalTimeout = 100 * time.Millisecond

// Journal sends entries with fields to journald. Errors are ignored: an entry that is lost must not keep
// a Source from being mounted. A nil Journal sends nothing.
type Journal struct {
	socket  string
	stopped bool // journald did not take an entry in time
}

// OpenJournal returns nil unless this process's stderr goes to the journal: then a person, or another
// program, reads it. ($JOURNAL_STREAM in systemd.exec(5))
func OpenJournal() *Journal {
	st, err := os.Stderr.Stat()
	if err != nil {
		return nil
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", sys.Dev, sys.Ino) {
		return &Journal{socket: journalSocket}
	}
	return nil
}

// Send sends one entry. The fields are names and values alternately; empty values are left out. Names
// consist of capital letters, digits and underscores, and do not begin with an underscore.
func (j *Journal) Send(fields ...string) {
	if j == nil || j.stopped {
		return
	}
	var entry strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		if value := strings.ReplaceAll(fields[i+1], "\n", " "); value != "" {
			entry.WriteString(fields[i] + "=" + value + "\n")
		}
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is buffered
	_ = conn.SetWriteDeadline(time.Now().Add(journalTimeout))
	_, err = conn.Write([]byte(entry.String()))
	j.stopped = os.IsTimeout(err)
}
