//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

const inIreland = "--region=eu-west-1"

// copies returns the snapshots of a region of the default account that are not deleted.
func (s *sandbox) copies(region string) (found []*ec2test.Snapshot) {
	s.t.Helper()
	s.change(func(w *ec2test.World) {
		if there := w.Elsewhere[ec2test.Place{Account: ec2test.DefaultAccount, Region: region}]; there != nil {
			for _, snap := range there.Snapshots {
				if snap.State(time.Now()) != "" {
					found = append(found, snap)
				}
			}
		}
	})
	return found
}

// newestSnapshot is a shell command that prints the id of the newest snapshot here.
const newestSnapshot = `snapsource snapshots --output json | grep -o 'snap-[0-9a-f]*' | head -1`

// TestCopy: launches in another region take a copy, as old as its original; a release is copied once.
func TestCopy(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	first := strings.TrimSpace(s.run("web-1", newestSnapshot))
	contains(t, s.run("web-1", release2+"\nsnapsource copy --to-region eu-west-1 --wait"), "is a copy of snap-", "in us-west-2; a launch there takes snap-")
	out := s.run("eu-1", "snapsource plan\nsnapsource up\nsnapsource status\ncat /home/deploy/codepen/RELEASE\nsnapsource snapshots", inIreland)
	contains(t, out, "eu-west-1c", ", a copy of snap-", "release 2\n", "takes this one", "DESCRIPTION")

	t.Run("again", func(t *testing.T) {
		contains(t, s.run("web-1", "snapsource copy --to-region eu-west-1\nsnapsource copy --to-region eu-west-1 --output json"), "was there already", `"changed": false`)
		if n := len(s.copies("eu-west-1")); n != 1 {
			t.Errorf("%d copies", n)
		}
	})
	t.Run("an older release", func(t *testing.T) {
		s.run("web-1", "snapsource copy --to-region eu-west-1 --wait --snapshot "+first)
		contains(t, s.run("eu-2", "snapsource up\ncat /home/deploy/codepen/RELEASE", inIreland), "release 2\n")
	})
	t.Run("a copy of a copy", func(t *testing.T) {
		out := s.run("eu-1", "snapsource copy --to-region eu-central-1 --wait\nsnapsource copy --to-region us-west-2")
		contains(t, out, "in us-west-2; a launch", "is the original, and was there already")
		contains(t, s.run("web-1", "snapsource copy --to-region eu-central-1"), "was there already")
		if n := len(s.copies("eu-central-1")); n != 1 {
			t.Errorf("%d copies", n)
		}
	})
	t.Run("roll back there", func(t *testing.T) {
		s.run("web-1", "snapsource reject latest --region eu-west-1")
		contains(t, s.run("eu-3", "snapsource up\ncat /home/deploy/codepen/RELEASE", inIreland), "release 1\n")
		contains(t, s.run("web-1", "snapsource copy --to-region eu-west-1"), "(rejected ")
	})
	t.Run("prune there", func(t *testing.T) {
		s.run("web-1", "snapsource promote --region eu-west-1 $(snapsource snapshots --region eu-west-1 --output json | grep -o '\"snap-[0-9a-f]*' | tr -d '\"' | head -1)")
		s.run("web-1", "snapsource prune --keep 1 --region eu-west-1")
		if n := len(s.copies("eu-west-1")); n != 1 {
			t.Errorf("%d copies", n)
		}
	})
	t.Run("a rejected release", func(t *testing.T) {
		out, code := s.try("web-1", "id=$("+newestSnapshot+")\nsnapsource reject $id\nsnapsource copy --to-region us-east-1 --snapshot $id")
		if code != 64 || !strings.Contains(out, "no release that can be copied: rejected") || len(s.copies("us-east-1")) != 0 {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}

// TestCopyEncrypted: EC2 accepts the presigned URL; a key is used where it exists.
func TestCopyEncrypted(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.change(func(w *ec2test.World) {
		for _, snap := range w.Snapshots {
			snap.Encrypted, snap.KMSKeyID = true, "arn:aws:kms:us-west-2:123456789012:key/a"
		}
	})
	out, code := s.try("web-1", "snapsource copy --to-region eu-west-1 --kms-key arn:aws:kms:us-west-2:123456789012:key/a")
	if code != 64 || !strings.Contains(out, "kms-key: it is in us-west-2") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	const key = "arn:aws:kms:eu-west-1:123456789012:key/b"
	s.run("web-1", "snapsource copy --to-region eu-west-1 --wait --kms-key "+key+"\nsnapsource copy --to-region us-east-1 --wait")
	if got := s.copies("eu-west-1"); len(got) != 1 || got[0].KMSKeyID != key {
		t.Errorf("%+v", got)
	}
	if got := s.copies("us-east-1"); len(got) != 1 || !got[0].Encrypted || !strings.HasPrefix(got[0].KMSKeyID, "arn:aws:kms:us-east-1:") {
		t.Errorf("%+v", got)
	}
}

// TestCopyFails: with --wait a copy that EC2 can't complete is an error, and the next run makes another.
func TestCopyFails(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	if out, code := s.try("web-1", "snapsource copy --to-region eu-west-1 --wait", "--fault=broken=CopySnapshot"); code != 75 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	contains(t, s.run("web-1", "snapsource copy --to-region eu-west-1 --wait"), "a launch there takes snap-")
}

// TestCopyOfPending: without --wait the newest completed release is copied, and the pending one is named.
func TestCopyOfPending(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("web-1", release2)
	s.change(func(w *ec2test.World) {
		var newest *ec2test.Snapshot
		for _, snap := range w.Snapshots {
			if newest == nil || snap.Started.After(newest.Started) {
				newest = snap
			}
		}
		newest.Completed = time.Now().Add(8 * time.Second)
	})
	out := s.run("web-1", "snapsource copy --to-region eu-west-1\nsnapsource copy --to-region eu-central-1 --wait")
	if !regexp.MustCompile(`(?s)^snap-.* is newer, but EC2 has not completed it.* is pending \d+%\n`).MatchString(out) {
		t.Errorf("got\n%s", out)
	}
	contains(t, s.run("eu-1", "snapsource up\ncat /home/deploy/codepen/RELEASE", inIreland), "release 1\n")
	contains(t, s.run("de-1", "snapsource up\ncat /home/deploy/codepen/RELEASE", "--region=eu-central-1"), "release 2\n")
}

// TestCopyLost: EC2's response is lost; the copy is found.
func TestCopyLost(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out, code := s.try("web-1", "snapsource copy --to-region eu-west-1 --wait", "--fault=drop-after=CopySnapshot#1")
	if code != 0 || len(s.copies("eu-west-1")) != 1 {
		t.Errorf("exit code %d, %d copies\n%s", code, len(s.copies("eu-west-1")), out)
	}
}

// TestCopyKilled: a run is killed at each of its calls. The next one finishes the copy, and makes no
// second one.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	whole := deployed(t)
	const command = "snapsource copy --to-region eu-west-1 --wait"
	before := len(whole.calls("web-1"))
	whole.run("web-1", command)
	calls := whole.calls("web-1")[before:]
	var faults []string
	for n, call := range calls {
		faults = append(faults, fmt.Sprintf("kill-before=%d", n+1))
		if call.Mutating() {
			faults = append(faults, fmt.Sprintf("kill-after=%d", n+1))
		}
	}
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			s := deployed(t)
			out, code := s.try("web-1", command, "--fault="+fault)
			if code != 137 {
				t.Fatalf("exit code %d: not killed\n%s", code, out)
			}
			s.run("web-1", command)
			if got := s.copies("eu-west-1"); len(got) != 1 {
				t.Errorf("%d copies", len(got))
			}
			contains(t, s.run("eu-1", "snapsource up\ncat /home/deploy/codepen/RELEASE", inIreland), "release 1\n")
		})
	}
}

// TestCopyShared: another account shares a snapshot. Its tags are not visible, so it is no release until
// it is copied; nothing else of that account is.
func TestCopyShared(t *testing.T) {
	t.Parallel()
	const account, other = "--account=210987654321", ec2test.DefaultAccount
	s := deployed(t)
	id := strings.TrimSpace(s.run("web-1", newestSnapshot))
	copyIt := "snapsource copy --owner " + other + " --snapshot " + id
	if out, code := s.try("b-1", copyIt, account); code != 64 || !strings.Contains(out, "shares no snapshot "+id) {
		t.Errorf("not shared: exit code %d\n%s", code, out)
	}
	const modify = "aws ec2 modify-snapshot-attribute --attribute createVolumePermission --operation-type "
	s.run("web-1", modify+"add --group-names all --snapshot-id "+id)
	if out, code := s.try("b-1", copyIt, account); code != 64 {
		t.Errorf("public: exit code %d\n%s", code, out)
	}
	s.run("web-1", modify+"remove --group-names all --snapshot-id "+id+"\n"+modify+"add --user-ids 210987654321 --snapshot-id "+id)
	if out, code := s.try("b-1", "snapsource up", account); code != 69 {
		t.Errorf("a launch with a shared snapshot: exit code %d\n%s", code, out)
	}
	if out, code := s.try("b-1", "snapsource copy --owner 333333333333 --snapshot "+id, account); code != 64 {
		t.Errorf("another owner: exit code %d\n%s", code, out)
	}
	contains(t, s.run("b-1", copyIt+" --wait\n"+copyIt, account), "is a copy of "+id, "was there already")
	contains(t, s.run("b-2", "snapsource up\ncat /home/deploy/codepen/RELEASE", account), "release 1\n")
	contains(t, s.run("b-1", copyIt+" --to-region eu-west-1 --wait", account), "in eu-west-1 is a copy of "+id)
	if out, code := s.try("b-1", "snapsource copy --owner "+other+" --to-region eu-west-1", account); code != 64 || !strings.Contains(out, "needs --snapshot") {
		t.Errorf("without a snapshot: exit code %d\n%s", code, out)
	}
}
