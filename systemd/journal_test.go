package systemd

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestSend: an entry has a line for each field that has a value, and nothing in a value begins a line.
func TestSend(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	journald, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer journald.Close()
	(&Journal{socket: socket}).Send("MESSAGE", "two\nPRIORITY=0", "SNAPSOURCE_VOLUME", "", "SNAPSOURCE_STEP", "mount")
	got := make([]byte, 1000)
	n, err := journald.Read(got)
	if want := "MESSAGE=two PRIORITY=0\nSNAPSOURCE_STEP=mount\n"; err != nil || string(got[:n]) != want {
		t.Errorf("got %q, %v; want %q", got[:n], err, want)
	}
}

// TestSendInVain: a journald that reads nothing, or is not there, keeps nobody waiting.
func TestSendInVain(t *testing.T) {
	(*Journal)(nil).Send("MESSAGE", "nobody")
	(&Journal{socket: filepath.Join(t.TempDir(), "nothing")}).Send("MESSAGE", "nobody")
	socket := filepath.Join(t.TempDir(), "socket")
	stuck, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	j := &Journal{socket: socket}
	for n := 0; !j.stopped && n < 100000; n++ {
		j.Send("MESSAGE", "full")
	}
	if !j.stopped {
		t.Error("it never stopped")
	}
}

// TestOpenJournal: not where stderr is a file, as of a test, or what a child has inherited.
func TestOpenJournal(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "1:2")
	if OpenJournal() != nil {
		t.Error("stderr is not that stream")
	}
	os.Unsetenv("JOURNAL_STREAM")
	if OpenJournal() != nil {
		t.Error("there is no stream")
	}
}
