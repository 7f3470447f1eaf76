//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/agent/report"
)

// TestSnapshotsOfABusySource takes snapshots while a writer appends and syncs. Each
// contains every record that was synced before, and none that was started after, and its
// file system is sound.
func TestSnapshotsOfABusySource(t *testing.T) {
	s := newSandbox(t)
	s.thawAfter()
	s.run("web-1", "snapsource init --size 1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	taken, written := s.snapshotsUnderWriter(self)
	held := s.check(slices.Sorted(maps.Keys(taken)))
	var pauses []pause
	for id, r := range taken {
		begun, frozen, thawed := moment(r, report.Flush), moment(r, report.Freeze), moment(r, report.Thaw)
		least, most, longest := 0, 0, int64(0)
		for _, w := range written {
			if w.ended < frozen {
				least = max(least, w.number)
			}
			if w.began <= thawed {
				most = max(most, w.number)
			}
			if w.began <= thawed && w.ended >= begun {
				longest = max(longest, w.ended-w.began)
			}
		}
		if n := held[id]; n < least || n > most {
			t.Errorf("%s holds %d records; %d were synced before the freeze, %d begun before the thaw", id, n, least, most)
		}
		pauses = append(pauses, pause{time.Duration(longest), r.Taken.Pause, step(r, report.Create).Took})
	}
	distribution := func(beyondCall func(pause) time.Duration) string { return distributionOf(pauses, beyondCall) }
	t.Logf("%d snapshots, %d records; it was frozen for the call and %s; a writer waited for the call and %s, its own write and sync among it",
		len(taken), len(written), distribution(func(p pause) time.Duration { return p.told }), distribution(func(p pause) time.Duration { return p.writer }))
}

// snapshotsUnderWriter takes snapshots while a process, self, appends records and syncs, and
// returns the snapshots' reports by id, and the records.
func (s *sandbox) snapshotsUnderWriter(self string) (taken map[string]report.Source, written []entry) {
	s.t.Helper()
	taken = map[string]report.Source{}
	for len(taken) < snapshotsTaken {
		out := s.run("web-1", fmt.Sprintf(`
snapsource up >/dev/null
%s=%s %s >/run/written & writer=$!
for i in $(seq %d); do
	snapsource snapshot --output json 2>/run/log || { cat /run/log; exit 1; }
done
kill $writer
echo written
head -c -1 /run/written`, writeRecords, records, self, min(snapshotBatch, snapshotsTaken-len(taken))), "--fault=delay=CreateSnapshot:"+callTakes)
		reports, log, _ := strings.Cut(out, "written\n")
		for decoder := json.NewDecoder(strings.NewReader(reports)); ; {
			var r report.Report
			if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				s.t.Fatalf("%v\n%s", err, out)
			}
			taken[r.Sources[0].Taken.Snapshot] = *r.Sources[0]
		}
		for line := range strings.Lines(log) {
			var r entry
			if n, _ := fmt.Sscan(line, &r.number, &r.began, &r.ended); n == 3 {
				written = append(written, r)
			}
		}
	}
	return taken, written
}

// distributionOf returns percentiles of pauses, without the duration of EC2's call.
func distributionOf(pauses []pause, beyondCall func(pause) time.Duration) string {
	var all []time.Duration
	for _, p := range pauses {
		all = append(all, (beyondCall(p) - p.call).Round(100*time.Microsecond))
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100] }
	return fmt.Sprintf("%s (median), %s (90 %%), %s (99 %%), %s (most)", at(50), at(90), at(99), at(100))
}

func step(r report.Source, name report.Step) report.FinishedStep {
	return r.Steps[slices.IndexFunc(r.Steps, func(s report.FinishedStep) bool { return s.Step == name })]
}

// moment returns the end of a step, as Unix time in ns.
func moment(r report.Source, name report.Step) int64 {
	s := step(r, name)
	return r.Began.Add(s.Start + s.Took).UnixNano()
}

// check mounts each snapshot and returns its number of records, 0 without a file. They must
// be the first ones, and xfs_repair must find nothing.
func (s *sandbox) check(ids []string) map[string]int {
	s.t.Helper()
	script := `set -e
mount -t tmpfs none /mnt
mkdir /mnt/at
for id; do
	dev=$(losetup --find --show "$0/snapshots/$id.img")
	trap 'umount /mnt/at 2>/dev/null; losetup -d $dev' EXIT
	mount -t xfs -o nouuid $dev /mnt/at
	file=/mnt/at${FILE#/cp}
	touch -a $file
	echo $id $(stat -c %s $file) $(sha256sum <$file)
	umount /mnt/at
	xfs_repair -n $dev >/mnt/repair 2>&1 || { cat /mnt/repair; exit 1; }
	losetup -d $dev
	trap - EXIT
done`
	cmd := exec.CommandContext(s.t.Context(), "unshare", append([]string{"--mount", "sh", "-c", script, s.dir}, ids...)...)
	cmd.Env = append(os.Environ(), "FILE="+records)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	held := map[string]int{}
	var first []byte // the records, as many as any snapshot holds
	for line := range strings.Lines(string(out)) {
		var id, sum string
		var size int
		if _, err := fmt.Sscan(line, &id, &size, &sum); err != nil {
			s.t.Fatalf("%v in %q", err, line)
		}
		held[id] = size / recordSize
		for n := len(first) / recordSize; n < held[id]; n++ {
			first = fmt.Appendf(first, "%09d\n", n+1)
		}
		if size%recordSize != 0 || sum != fmt.Sprintf("%x", sha256.Sum256(first[:size])) {
			s.t.Errorf("%s: the %d bytes of the file are not the first records", id, size)
		}
	}
	if len(held) != len(ids) {
		s.t.Errorf("%d of %d snapshots are checked:\n%s", len(held), len(ids), out)
	}
	return held
}
