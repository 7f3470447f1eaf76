//go:build linux

package main

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSnapshotLogInTheSource: a log in the Source, as deployments keep one, does not
// block the snapshot of it, and has all lines in order.
func TestSnapshotLogInTheSource(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.thawAfter()
	for _, test := range []struct{ name, command string }{
		{"stderr", "snapsource snapshot -v 2>>$log"},
		{"both", "snapsource snapshot -v >>$log 2>&1"},
		{"JSON", "snapsource snapshot -v --output json >>$log 2>&1"},
		{"a pipe", "snapsource snapshot -v 2>&1 | tee -a $log"},
	} {
		out := s.run("web-1", `
snapsource up >/dev/null
log=/home/deploy/codepen/deploy.log
echo first >$log
`+test.command+`
echo --- log
cat $log
cat $log | tr -d '\n' | grep -q 'step started.*freeze.*step done.*freeze.*step done.*create.*step done.*thaw' && echo in order
snapsource snapshots | grep -c 'takes this one\|pending'`, "--fault=delay=CreateSnapshot:300ms")
		if !strings.Contains(out, "--- log\nfirst\n") || !strings.Contains(out, "in order\n") {
			t.Errorf("%s: the log lacks lines:\n%s", test.name, out)
		}
		if found := regexp.MustCompile(`writers waited (\d+) ms`).FindStringSubmatch(out); found == nil {
			t.Errorf("%s: no pause:\n%s", test.name, out)
		} else if ms, _ := strconv.Atoi(found[1]); ms > 3000 {
			t.Errorf("%s: writers waited %d ms", test.name, ms)
		}
	}
	if n := len(s.eligible()); n != 4 {
		t.Errorf("%d snapshots are eligible, want 4", n)
	}
}

// TestNobodyReads: a closed stdout or stderr ends no work. A snapshot in doubt is rejected
// before anything is written about it.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.thawAfter()
	out := s.run("web-1", `
snapsource up >/dev/null
(set +e; snapsource snapshot; echo $? >/run/code) | head -4
cat /run/code`, "--fault=drop-after=CreateSnapshot#1")
	if !strings.HasSuffix(out, "\n75\n") || strings.Count(out, "\n") < 4 {
		t.Errorf("snapshot | head -4:\n%s", out)
	}
	if left := s.eligible(); len(left) != 0 {
		t.Errorf("eligible: %+v", left)
	}
	for _, command := range []string{ // with reject nothing is left to launch from
		"up -v", "up --output json", "snapshot -v --wait", "snapshots", "status", "plan",
		"prune --keep 1", "down --delete", "hosts --role app --allow-empty", "version", "help", "reject latest --allow-none",
	} {
		name, _, _ := strings.Cut(command, " ")
		if strings.HasSuffix(command, "json") {
			name = "json"
		}
		before := "snapsource up >/dev/null 2>&1\n"
		if name == "up" || name == "json" {
			before = ""
		}
		out := s.run("web-"+name, before+`
mkfifo /run/nobody
(: <>/run/nobody; exec 3</run/nobody) & (set +e; exec 4>/run/nobody; wait; snapsource `+command+` >&4 2>&4; echo $? >/run/code)
cat /run/code`)
		if out != "0\n" {
			t.Errorf("%s, read by nobody, ends with %s", command, out)
		}
	}
}

// TestResultNotWritten: a result that can't be written is a failure for every command, but the
// work is done.
func TestResultNotWritten(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("web-2", "snapsource up --role app\nsnapsource snapshot --wait")
	const up = "snapsource up --role app >/dev/null\n"
	for _, command := range []string{
		"up", "up --output json", "init", "plan", "status", "snapshot", "snapshot --output id", "hosts --role app", "hosts --role app --output json",
		"hosts --list", "snapshots", "snapshots --output json", "reject latest", "prune --dry-run", "version", "version --output json", "help", "up --help",
		"--version", "down", "down --output json",
	} {
		out := s.run("web-2", up+`
set +e
snapsource `+command+` >/dev/full 2>/run/said
echo $?
cat /run/said`)
		code, said, _ := strings.Cut(out, "\n")
		if code != "75" || !strings.Contains(said, "the result could not be written: write /dev/stdout: no space left on device") {
			t.Errorf("%s: exit code %s:\n%s", command, code, said)
		}
		if done := strings.Contains(said, "the work is done"); done == readsOnly(strings.Fields(command)[0]) && !strings.Contains(command, "-help") && command != "--version" {
			t.Errorf("%s says that the work is done: %t", command, done)
		}
	}
	if out := s.run("web-2", up+"snapsource down >/dev/full 2>/dev/null || findmnt /cp || echo down\nsnapsource snapshots"); !strings.HasPrefix(out, "down\n") || strings.Count(out, "rejected") != 1 {
		t.Errorf("the work was not done:\n%s", out)
	}
}

// TestHangUp: SIGHUP ends a run as SIGTERM does, but not one that nohup started.
func TestHangUp(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	for _, test := range []struct{ name, start, want string }{
		{"up", "", "75"}, {"nohup", "nohup", "0"},
	} {
		out := s.run("web-"+test.name, test.start+` snapsource up --output json >/run/out 2>/run/said & pid=$!
until grep -qs '"step":"choose"' /run/said; do sleep 0.05; done
kill -HUP $pid
set +e; wait $pid; echo $?
cat /run/out`, "--fault=delay=CreateVolume:1s")
		code, report, _ := strings.Cut(out, "\n")
		if code != test.want {
			t.Errorf("%s: exit code %s\n%s", test.name, code, report)
		}
		if !json.Valid([]byte(report)) {
			t.Errorf("%s: its report is\n%s", test.name, report)
		}
	}
}
