//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

const (
	// snapshotsTaken while a writer writes, in batches that fit into one run of the
	// sandbox each.
	snapshotsTaken = 100
	snapshotBatch  = 25

	// callTakes is what callers in the region commonly see at the least.
	callTakes = "40ms"

	recordSize = 10 // bytes: nine digits and a newline
	records    = "/cp/codepen/records"
)

// writeRecords, with the name of a file, makes the test binary a program that appends
// numbered records to it, fsyncs each, and prints number, begin and end of each.
const writeRecords = "TEST_WRITE_RECORDS"

func init() {
	if file := os.Getenv(writeRecords); file != "" {
		fmt.Fprintln(os.Stderr, appendRecords(file))
		os.Exit(1)
	}
}

func appendRecords(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	for n := size/recordSize + 1; err == nil; n++ {
		began := time.Now()
		if _, err = fmt.Fprintf(f, "%09d\n", n); err == nil {
			err = f.Sync()
		}
		if err == nil {
			_, err = fmt.Println(n, began.UnixNano(), time.Now().UnixNano())
		}
	}
	return err
}

// entry is a written record: its number, and the start and end of write and sync.
type entry struct {
	number       int
	began, ended int64 // Unix time in ns
}

// pause is how long one snapshot blocked the writer (including the writer's own write and
// sync), the duration that snapsource reports, and that of EC2's call.
type pause struct{ writer, told, call time.Duration }

// thawAfter thaws file systems that an aborted run of the sandbox may have left frozen.
func (s *sandbox) thawAfter() {
	s.t.Cleanup(func() {
		for _, loop := range s.loops() {
			node := "/dev/" + loop
			exec.Command("unshare", "--mount", "sh", "-c",
				`mount -t tmpfs none /mnt && mkdir /mnt/left && mount -o nouuid "$0" /mnt/left && fsfreeze --unfreeze /mnt/left; umount /mnt/left`, node).Run()
		}
	})
}

// writable is a script that prints "blocked" unless a write is synced within a second. Then
// it thaws the file system: nothing else could end the writer.
const writable = `
(dd if=/dev/zero of=/cp/probe bs=4k count=1 conv=fsync status=none; touch /run/written) &
for try in $(seq 100); do
	[ -e /run/written ] && break
	sleep 0.01
done
[ -e /run/written ] || { echo blocked; fsfreeze --unfreeze /cp; }
wait
rm /run/written
`

// kills is the number of random kills.
const kills = 20

// TestSnapshotKilled sends SIGKILL at random times, mostly during the freeze, and right
// before and after EC2 takes the snapshot.
func TestSnapshotKilled(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.thawAfter()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	var moments strings.Builder // some come when it is over
	for range 4 * kills {
		fmt.Fprintf(&moments, " %.3f", random.Float64()*0.6)
	}
	out := s.run("web-1", fmt.Sprintf(`
snapsource up >/dev/null
left=%d
for moment in%s; do
	[ $left -gt 0 ] || break
	snapsource snapshot >/run/out 2>&1 & pid=$!
	sleep $moment
	if kill -9 $pid; then left=$((left - 1)); echo killed; else cat /run/out; fi
	wait $pid || true
	%s
done`, kills, &moments, writable), "--fault=delay=CreateSnapshot:300ms")
	for _, when := range []string{"kill-before", "kill-after"} {
		out += s.run("web-1", `
snapsource up >/dev/null
snapsource snapshot >/run/out 2>&1 || [ $? != 137 ] || echo killed`+writable, "--fault="+when+"=CreateSnapshot#1")
	}
	if n := strings.Count(out, "blocked"); n > 0 {
		t.Errorf("%d times it could not be written within a second:\n%s", n, out)
	}
	if n := strings.Count(out, "killed\n"); n != kills+2 {
		t.Errorf("it was killed %d times, want %d and before and after the call:\n%s", n, kills, out)
	}
	eligible := s.eligible()
	t.Logf("killed %d times, %d snapshots", kills+2, len(eligible))
	if len(eligible) == 0 {
		t.Error("no snapshot, though EC2 took one before the last kill")
	}
	s.check(slices.Sorted(maps.Keys(eligible)))
}

// eligible returns the snapshots that snapsource took and a launch would use. They must
// have all tags.
func (s *sandbox) eligible() map[string]ec2test.Snapshot {
	s.t.Helper()
	found := map[string]ec2test.Snapshot{}
	s.change(func(w *ec2test.World) {
		for id, snap := range w.Snapshots {
			if snap.Tags["Name"] != "codepen-app" || snap.Tags["snapsource:rejected"] != "" || len(snap.Tags) == 1 {
				continue // one with the Name alone is the CLI's
			}
			found[id] = *snap
			for _, key := range []string{"snapsource:source", "snapsource:instance", "snapsource:volume", "snapsource:run"} {
				if snap.Tags[key] == "" {
					s.t.Errorf("%s is eligible and has no tag %s: %v", id, key, snap.Tags)
				}
			}
		}
	})
	return found
}

// TestSnapshotAnswerLost: EC2 takes the snapshot, but its response is lost.
func TestSnapshotAnswerLost(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.thawAfter()
	out, code := s.try("web-1", "snapsource up >/dev/null\nsnapsource snapshot\ncode=$?\n"+writable+"exit $code", "--fault=drop-after=CreateSnapshot#1")
	if code != 75 || !strings.Contains(out, "is rejected") || strings.Contains(out, "blocked") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if left := s.eligible(); len(left) != 0 {
		t.Errorf("eligible: %+v", left)
	}
	out = s.run("web-1", "snapsource up >/dev/null\nsnapsource snapshot --wait\nsnapsource snapshots")
	if strings.Count(out, " is completed") != 1 || !strings.Contains(out, "rejected 2") || len(s.eligible()) != 1 {
		t.Errorf("after it:\n%s", out)
	}
}

// TestSnapshotOfARelease: the next launch uses a deployment's snapshot, and not a
// candidate.
func TestSnapshotOfARelease(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.thawAfter()
	s.run("web-1", `
snapsource up
mkdir -p /home/deploy/codepen/releases/2
ln -sfn /home/deploy/codepen/releases/2 /home/deploy/codepen/current
echo 1234abcd >/home/deploy/codepen/current/REVISION
echo 'release 2' >/home/deploy/codepen/RELEASE
snapsource snapshot --tag team=blue --wait
echo 'release 3' >/home/deploy/codepen/RELEASE
snapsource snapshot --candidate --wait`)
	if out := s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(out, "release 2\n") {
		t.Error(out)
	}
	for id, snap := range s.eligible() {
		if snap.Tags["team"] != "blue" || snap.Tags["snapsource:revision"] != "1234abcd" || snap.Description != "1234abcd" {
			t.Errorf("%s: %q, %v", id, snap.Description, snap.Tags)
		}
	}
	for script, want := range map[string]string{
		"snapsource snapshot":                                          "no launch has finished",
		"snapsource snapshot --freeze-timeout 1m":                      "freeze-timeout: 1m0s",
		"snapsource snapshot --tag x":                                  "is not KEY=VALUE",
		"snapsource snapshot --tag Name=x":                             "set by snapsource itself",
		"snapsource up >/dev/null; umount -l /cp; snapsource snapshot": "is not mounted",
	} {
		if out, code := s.try("web-1", script); code == 0 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, want %q:\n%s", script, code, want, out)
		}
	}
}

func TestProgress(t *testing.T) {
	for percent, want := range map[int]string{0: "░░░░░░░░░░   0%", 37: "███░░░░░░░  37%", 100: "██████████ 100%"} {
		if got := progress(percent); got != want {
			t.Errorf("%d: %q", percent, got)
		}
	}
}

// TestOnlyTheID: stdout has the id and nothing else; quiet commands print nothing.
func TestOnlyTheID(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	out := s.run("web-1", `
snapsource init --quiet
snapsource snapshot --output id --wait >/run/id 2>/run/said
cat /run/id
wc -c </run/said
snapsource snapshot -q
snapsource up -q
snapsource down -q
snapsource snapshot --output id >/run/id 2>/run/said || echo code=$?
wc -c </run/id
grep -c 'not ready' /run/said`)
	if !regexp.MustCompile(`^snap-[0-9a-f]{17}\n0\ncode=75\n0\n1\n$`).MatchString(out) {
		t.Errorf("%q", out)
	}
	if out := s.run("web-2", "snapsource init --source shop --size 1 2>&1"); !strings.HasSuffix(out, "\nnext: write the first release into /home/deploy/codepen, then snapsource snapshot --wait --source shop\n") {
		t.Errorf("init does not say what is next:\n%s", out)
	}
}
