//go:build linux

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// ec2sandbox runs another command of the sandbox.
func (s *sandbox) ec2sandbox(command, name string) {
	s.t.Helper()
	if out, err := exec.CommandContext(s.t.Context(), s.program, command, "--state", s.dir, name).CombinedOutput(); err != nil {
		s.t.Fatalf("%s %s: %v\n%s", command, name, err, out)
	}
}

// TestBackupsAreNoReleases: a tool copies all tags of a volume to a snapshot of it, and
// those of a snapshot to a copy. No launch takes either, not even after a roll back; what
// an operator promotes it takes.
func TestBackupsAreNoReleases(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-1", `
snapsource up >/dev/null
echo half >/home/deploy/codepen/RELEASE
sync
volume=$(aws ec2 describe-volumes --filters Name=tag:Name,Values=codepen-app --query 'Volumes[0].VolumeId' --output text)
tags=$(aws ec2 describe-volumes --volume-ids $volume --query 'Volumes[0].Tags' --output json)
aws ec2 create-snapshot --volume-id $volume --tag-specifications "{\"ResourceType\":\"snapshot\",\"Tags\":$tags}" --query SnapshotId --output text >/backup
release=$(aws ec2 describe-snapshots --owner-ids self --filters Name=tag:Name,Values=codepen-app --query 'Snapshots[?Tags[0].Key==`+"`Name`"+` && length(Tags)==`+"`1`"+`].SnapshotId' --output text)
aws ec2 copy-snapshot --source-region us-west-2 --source-snapshot-id $release \
  --tag-specifications 'ResourceType=snapshot,Tags=[{Key=Name,Value=codepen-app}]' --query SnapshotId --output text >/copy
aws ec2 wait snapshot-completed --owner-ids self --filters Name=tag:Name,Values=codepen-app
snapsource snapshots`)
	contains(t, out, "its tags are copied from a volume", "a copy of a snapshot, not promoted", "takes this one")
	if got := s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(got, "release 1\n") {
		t.Errorf("beside a backup a launch reads\n%s", got)
	}
	s.run("web-1", "snapsource reject latest --allow-none --reason 'the only one'")
	if got, code := s.try("web-3", "snapsource up"); code != 69 {
		t.Errorf("after the roll back of the only release: exit code %d\n%s", code, got)
	}
	s.run("web-1", "snapsource promote $(cat /backup)")
	if got := s.run("web-4", "snapsource up\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(got, "half\n") {
		t.Errorf("after the backup was promoted a launch reads\n%s", got)
	}
	s.run("web-1", "snapsource reject --allow-none $(cat /backup)\nsnapsource promote $(cat /copy)")
	if got := s.run("web-5", "snapsource up\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(got, "release 1\n") {
		t.Errorf("after the copy was promoted a launch reads\n%s", got)
	}
}

// release2 has web-1 deploy another release.
const release2 = "snapsource up >/dev/null\necho 'release 2' >/home/deploy/codepen/RELEASE\nsnapsource snapshot --wait >/dev/null"

// TestRejectedDuringLaunch: the release that a launch has chosen is rejected before it is
// announced.
func TestRejectedDuringLaunch(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]struct {
		code int
		says string
	}{
		"fail": {75, "is rejected"},
		"wait": {0, "release 1\n"},
		"warn": {0, "is rejected"},
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := deployed(t)
			s.run("web-1", release2)
			out, code := s.try("web-2", `
(until grep -q create /out; do sleep 0.05; done; snapsource reject latest --reason 'breaks the login') &
snapsource up --role app --stale `+policy+` >/out 2>&1
code=$?
wait
cat /out
cat /home/deploy/codepen/RELEASE
exit $code`, "--fault", "delay=AttachVolume#1:3s")
			if code != want.code {
				t.Errorf("exit code %d, want %d\n%s", code, want.code, out)
			}
			contains(t, out, want.says)
			if n := len(s.volumes("codepen-app")); policy == "fail" && n != 1 {
				t.Errorf("%d volumes, want web-1's only", n)
			}
		})
	}
	t.Run("while it is not running", func(t *testing.T) {
		t.Parallel()
		s := deployed(t)
		s.run("web-1", release2)
		s.try("web-2", "snapsource up", "--fault", "kill-before=AttachVolume")
		s.run("web-1", "snapsource reject latest")
		out := s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE")
		contains(t, out, "starting over", "release 1\n")
		if n := len(s.volumes("codepen-app")); n != 2 {
			t.Errorf("%d volumes, want one for each instance", n)
		}
	})
}

// TestOffDuringDeployment: an instance that was stopped while a release was made does not
// come back with the old one, if the policy forbids it, and has no role until it is ready.
func TestOffDuringDeployment(t *testing.T) {
	t.Parallel()
	for policy, release := range map[string]string{"warn": "release 1\n", "wait": "release 2\n", "fail": "release 2\n"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := deployed(t)
			up := "snapsource up --role app --stale " + policy
			s.run("web-2", up)
			s.ec2sandbox("stop", "web-2")
			s.run("web-1", release2)
			s.ec2sandbox("start", "web-2")
			// No role is on it from the moment that up knows of the start.
			out, code := s.try("web-2", `
(until grep -q withdraw /out; do sleep 0.1; done; snapsource hosts --role app --allow-empty | sed 's/^/listed early: /') &
`+up+` >/out 2>&1
code=$?
wait
cat /out
[ $code = 75 ] && { `+up+` || exit; code=fails; }
cat /home/deploy/codepen/RELEASE
snapsource hosts --role app
echo "first run: $code"`, "--fault", "delay=DescribeSnapshots#1:4s")
			if code != 0 || strings.Contains(out, "listed early") {
				t.Errorf("exit code %d\n%s", code, out)
			}
			contains(t, out, release, "127.77.", map[string]string{"warn": "first run: 0", "wait": "first run: 0", "fail": "first run: fails"}[policy])
			contains(t, out, "withdraw")
			if policy == "warn" {
				contains(t, out, "was stopped and started")
			}
			// A reboot after it is one like any other.
			s.run("web-1", strings.ReplaceAll(release2, "release 2", "release 3"))
			if out := s.run("web-2", up+"\ncat /home/deploy/codepen/RELEASE"); !strings.HasSuffix(out, release) || strings.Contains(out, "newer") {
				t.Errorf("after a reboot:\n%s", out)
			}
		})
	}
}

// TestChosenSnapshotIsPruned: a launch whose snapshot is deleted before there is a volume
// of it takes the next one at once.
func TestChosenSnapshotIsPruned(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	done := make(chan string)
	go func() {
		out, _ := s.try("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE", "--fault", "delay=CreateVolume#1:6s")
		done <- out
	}()
	s.run("web-1", "snapsource up >/dev/null\nsleep 2\necho 'release 2' >/home/deploy/codepen/RELEASE\nsnapsource snapshot --wait --keep 1")
	contains(t, <-done, "no longer exists; choosing again", "release 2\n")
}

const whatIsMounted = "\nfindmnt -no FSTYPE /cp || echo nothing mounted"

// TestDownAsksTheKernel: nothing is detached that is mounted or used, whatever EC2 lists.
func TestDownAsksTheKernel(t *testing.T) {
	t.Parallel()
	detached := func(s *sandbox) (n int) {
		for _, c := range s.calls("web-2") {
			if c.Action == "DetachVolume" && c.OK() {
				n++
			}
		}
		return n
	}
	t.Run("EC2 does not list the attachment yet", func(t *testing.T) {
		t.Parallel()
		s := deployed(t)
		s.run("web-2", "snapsource up")
		out := s.run("web-2", "snapsource up >/dev/null\nsnapsource down"+whatIsMounted, "--fault", "unattached=DescribeVolumes#2@5s")
		contains(t, out, "nothing mounted", "Source is down")
		for _, v := range s.volumes("codepen-app") {
			if v.Attachment != nil && v.Attachment.InstanceID == instanceID(s, "web-2") && v.Attachment.DetachAsked.IsZero() {
				t.Errorf("%s is still attached", v.ID)
			}
		}
	})
	t.Run("EC2 does not list it, and it is in use", func(t *testing.T) {
		t.Parallel()
		s := deployed(t)
		s.run("web-2", "snapsource up")
		out, code := s.try("web-2", "snapsource up >/dev/null\ncd /cp\nsnapsource down\ncode=$?"+whatIsMounted+"\nexit $code", "--fault", "unattached=DescribeVolumes#2@20s")
		if contains(t, out, "is used by sh (pid ", "xfs"); code != 75 || detached(s) != 0 {
			t.Errorf("exit code %d, %d detached\n%s", code, detached(s), out)
		}
	})
	t.Run("a container uses it", func(t *testing.T) {
		t.Parallel()
		s := deployed(t)
		out, code := s.try("web-2", `
snapsource up --role app >/dev/null
unshare -m --propagation private sleep 20 &
sleep 0.5
snapsource down --role app
code=$?`+whatIsMounted+`
cat /home/deploy/codepen/RELEASE
snapsource hosts --role app
kill $!
snapsource down --role app || code="$code, then $?"
exit $code`)
		if contains(t, out, "is used by sleep (pid ", "nothing is changed", "xfs", "release 1", "\n127.77."); code != 75 || detached(s) != 1 {
			t.Errorf("exit code %d, %d detached\n%s", code, detached(s), out)
		}
	})
	t.Run("it is frozen", func(t *testing.T) {
		t.Parallel()
		s := deployed(t)
		s.thawAfter()
		out, code := s.try("web-2", "snapsource up --role app >/dev/null\nfsfreeze -f /cp\nsnapsource down --role app\ncode=$?"+whatIsMounted+
			"\nsnapsource hosts --role app\nfsfreeze -u /cp\nsnapsource down --role app || exit 1\nexit $code")
		if contains(t, out, "it is already frozen", "fsfreeze --unfreeze /cp", "xfs", "127.77.", "Source is down"); code != 75 || detached(s) != 1 {
			t.Errorf("exit code %d, %d detached\n%s", code, detached(s), out)
		}
	})
}

// TestSnapshotThatIsNoRelease: a snapshot without the directory that is bound fails the
// launch, and leaves nothing behind that keeps the next one from another snapshot.
func TestSnapshotThatIsNoRelease(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]string{
		"missing": "", "a file": "touch /cp/codepen", "a link": "mkdir /cp/elsewhere; ln -s elsewhere /cp/codepen",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := deployed(t)
			s.run("web-1", "snapsource up >/dev/null\numount /home/deploy/codepen\nmv /cp/codepen /cp/old\n"+spoil+takeSnapshot)
			out, code := s.try("web-2", "snapsource up\ncode=$?\ngrep -q ' /cp ' /proc/mounts && echo still mounted\nexit $code")
			if code != 65 || strings.Contains(out, "still mounted") || strings.Contains(out, "nothing was written to it") {
				t.Errorf("exit code %d\n%s", code, out)
			}
			contains(t, out, "snapsource reject")
			if n := len(s.volumes("codepen-app")); n != 1 {
				t.Errorf("%d volumes, want web-1's only", n)
			}
			s.run("web-1", "snapsource reject latest")
			contains(t, s.run("web-2", "snapsource up\ncat /home/deploy/codepen/RELEASE"), "release 1\n")
		})
	}
}
