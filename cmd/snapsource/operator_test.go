//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// addSnapshots puts eligible snapshots without data beside what web-1 deployed.
func addSnapshots(s *sandbox, ages map[string]time.Duration) {
	s.t.Helper()
	s.change(func(w *ec2test.World) {
		for id, age := range ages {
			at := time.Now().Add(-age)
			w.Snapshots[id] = &ec2test.Snapshot{ID: id, Owner: "123456789012", Tier: "standard", Size: 5,
				Started: at, Completed: at, Tags: ec2test.Tags{"Name": "codepen-app"}}
		}
	})
}

// TestRollBackByCommand: the newest is rejected, a launch takes the one before, and
// it is promoted again.
func TestRollBackByCommand(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-1", `
snapsource up >/dev/null
echo 'release 2' >/home/deploy/codepen/RELEASE`+takeSnapshot+`
snapsource snapshots
snapsource reject latest --reason 'breaks the login'
snapsource snapshots`)
	for want, n := range map[string]int{"takes this one": 2, "does not: older": 1, "breaks the login": 1, "is rejected; a launch now takes snap-": 1} {
		if strings.Count(out, want) != n {
			t.Errorf("%q stands there %d times, want %d:\n%s", want, strings.Count(out, want), n, out)
		}
	}
	if out := s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(out, "release 1\n") {
		t.Errorf("after the roll back a launch reads\n%s", out)
	}
	if out := s.run("web-3", `
bad=$(snapsource snapshots | grep 'breaks the login' | cut -d ' ' -f 1)
snapsource promote $bad
snapsource up
cat /home/deploy/codepen/RELEASE`); !strings.HasSuffix(out, "release 2\n") {
		t.Errorf("after the promotion a launch reads\n%s", out)
	}
}

// TestManySnapshots: with ten thousand snapshots of the source in the account, on
// ten pages, a launch still takes the newest. It runs alone, as the sandbox reads and
// writes them all for each call.
func TestManySnapshots(t *testing.T) {
	s := deployed(t)
	const many = 10_000
	ages := map[string]time.Duration{}
	for i := range many {
		ages[fmt.Sprintf("snap-%017x", i+1)] = time.Hour + time.Duration(i)*time.Minute
	}
	addSnapshots(s, ages)
	out := s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE")
	if !strings.HasSuffix(out, "release 1\n") {
		t.Errorf("a launch among %d snapshots reads\n%s", many, out)
	}
	lists := 0
	for _, c := range s.calls("web-2") {
		if c.Action == "DescribeSnapshots" {
			lists++
		}
	}
	if lists < many/1000 {
		t.Errorf("%d requests for the snapshots: not every page was read", lists)
	}
}

// TestPruneByCommand: the dry run says what prune then deletes, and nothing else.
func TestPruneByCommand(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	const old, older, rejected = "snap-00000000000000001", "snap-00000000000000002", "snap-00000000000000003"
	addSnapshots(s, map[string]time.Duration{old: 24 * time.Hour, older: 72 * time.Hour, rejected: 96 * time.Hour})
	s.change(func(w *ec2test.World) {
		w.Volumes["vol-00000000000000001"] = &ec2test.Volume{ID: "vol-00000000000000001", Zone: "us-west-2c", Type: "gp3", Size: 5,
			Created: time.Now().Add(-time.Hour), Available: time.Now().Add(-time.Hour),
			Tags: ec2test.Tags{"snapsource:source": "codepen-app", "snapsource:instance": "i-0123456789abcdef0"}}
	})
	out := s.run("web-2", `
snapsource reject `+rejected+` >/dev/null
snapsource prune --keep 2 --dry-run
aws ec2 describe-snapshots --owner-ids self --query 'length(Snapshots)'
snapsource prune --keep 1 --require-at-least 2
aws ec2 describe-snapshots --owner-ids self --query 'length(Snapshots)'
snapsource prune --keep 2`)
	want := []string{
		rejected + "  would be deleted  5 GiB  4 days old", "rejected, and older than the newest 2",
		older + "  would be deleted  5 GiB  3 days old", "vol-00000000000000001   would be deleted  5 GiB  60 min old", "i-0123456789abcdef0 no longer exists",
		older + "  deleted", "vol-00000000000000001   deleted", "\n4\n", "\n2\n", "nothing to prune",
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	if strings.Contains(out, old+"  ") {
		t.Errorf("%s was to stay:\n%s", old, out)
	}
	s.run("web-1", "snapsource up >/dev/null; snapsource snapshot --wait --keep 1")
	if out := s.run("web-2", "aws ec2 describe-snapshots --owner-ids self --query 'length(Snapshots)'"); out != "1\n" {
		t.Errorf("after snapshot --keep 1 there are %s", out)
	}
	if out, code := s.try("web-2", "snapsource prune --keep 0"); code != 64 {
		t.Errorf("--keep 0: exit code %d, %s", code, out)
	}
}

// TestDownByCommand: everything is undone, what is in use is not, and up works
// again.
func TestDownByCommand(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-2", `
snapsource up --role app --stage production
aws ec2 describe-tags --filters Name=key,Values=Roles,Stages --query 'Tags[].Value' --output text
cd /home/deploy/codepen
snapsource down --role app --stage production && echo unexpected || echo code=$?
cd /
snapsource up --role app --stage production
snapsource down --role app --stage production --delete
snapsource down --delete
aws ec2 describe-tags --filters Name=key,Values=Roles,Stages --query 'Tags[].Value' --output text
findmnt /cp && echo still mounted
findmnt /home/deploy/codepen && echo still bound
snapsource up
cat /home/deploy/codepen/RELEASE`)
	for _, want := range []string{"app\tproduction\n", "code=75", "is used by sh (pid ", "nothing is changed", "Source is down", "release 1\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "still ") || strings.Count(out, "app\tproduction") != 1 || strings.Contains(out, "unexpected") {
		t.Errorf("something is left:\n%s", out)
	}
	if n := len(s.volumes("codepen-app")); n != 2 {
		t.Errorf("%d volumes, want web-1's and web-2's second one", n)
	}
}

// TestStaleByCommand: a newer snapshot completes while a launch is at work.
func TestStaleByCommand(t *testing.T) {
	for policy, want := range map[string]string{"warn": "is newer; the Source is the older release", "fail": "code=75", "wait": "release 1\n"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := deployed(t)
			var newer string
			s.change(func(w *ec2test.World) { // a copy of the release, two seconds younger and pending as long
				for id, snap := range w.Snapshots {
					newer = "snap-0000000000000000f"
					copied := *snap
					copied.ID, copied.Tags = newer, ec2test.Tags{"Name": "not yet"}
					copied.Started, copied.Completed = time.Now(), time.Now().Add(4*time.Second)
					w.Snapshots[newer] = &copied
					s.copySnapshot(id, newer)
					break
				}
			})
			// The tag appears between the launch's first look and its second: when its
			// volume is there, and it waits for AttachVolume.
			s.run("web-2", "true")
			me := instanceID(s, "web-2")
			var out string
			launched := make(chan struct{})
			go func() {
				defer close(launched)
				out, _ = s.try("web-2", `
snapsource up --role app --stale `+policy+` && code=0 || code=$?
echo code=$code
cat /home/deploy/codepen/RELEASE`, "--fault", "delay=AttachVolume#1:5s")
			}()
			for created := false; !created; time.Sleep(20 * time.Millisecond) {
				select {
				case <-launched:
					t.Fatalf("the launch is over before its volume was seen:\n%s", out)
				default:
				}
				for _, v := range s.volumes("codepen-app") {
					created = created || v.Tags["snapsource:instance"] == me
				}
			}
			s.change(func(w *ec2test.World) { w.Snapshots[newer].Tags["Name"] = "codepen-app" })
			<-launched
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
			live := 0
			for _, v := range s.volumes("codepen-app") {
				if v.Tags["snapsource:instance"] == me {
					live++
					if policy == "wait" && v.SnapshotID != newer {
						t.Errorf("the volume is from %s, want %s", v.SnapshotID, newer)
					}
				}
			}
			if wanted := map[string]int{"warn": 1, "fail": 0, "wait": 1}[policy]; live != wanted {
				t.Errorf("%d volumes, want %d:\n%s", live, wanted, out)
			}
		})
	}
}

// copySnapshot returns a snapshot another one's data.
func (s *sandbox) copySnapshot(from, to string) {
	s.t.Helper()
	path := func(id string) string { return filepath.Join(s.dir, "snapshots", id+".img") }
	if out, err := exec.CommandContext(s.t.Context(), "cp", "--sparse=always", path(from), path(to)).CombinedOutput(); err != nil {
		s.t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}
