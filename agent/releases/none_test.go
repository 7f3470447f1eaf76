package releases

import (
	"strings"
	"testing"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// TestNoneEligible: the advice fits what there is. init is for a source without any snapshot:
// elsewhere its blank volume would be an empty Source.
func TestNoneEligible(t *testing.T) {
	with := func(s ec2ops.Snapshot, change func(*ec2ops.Snapshot)) ec2ops.Snapshot { change(&s); return s }
	rejected := func(id string, hour int) ec2ops.Snapshot {
		return with(release(id, hour), func(s *ec2ops.Snapshot) {
			s.Tags = map[string]string{"Name": "rejected: codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagRejected: "slow"}
		})
	}
	candidate := with(release("snap-c", 3), func(s *ec2ops.Snapshot) {
		s.Tags = map[string]string{ec2ops.TagSource: "codepen-app", ec2ops.TagCandidate: "codepen-app"}
	})
	archived := with(release("snap-a", 4), func(s *ec2ops.Snapshot) { s.Tier = ec2ops.TierArchive })
	pending := with(release("snap-p", 9), func(s *ec2ops.Snapshot) { s.State, s.Progress = ec2ops.SnapshotPending, "7%" })
	failed := with(release("snap-e", 9), func(s *ec2ops.Snapshot) { s.State = "error" })
	for name, tc := range map[string]struct {
		all        []ec2ops.Snapshot
		says, hint string
		code       int
	}{
		"none at all":        {nil, "no snapshot with the tag Name=codepen-app", "snapsource init makes the first volume", failure.ExitNoSnapshot},
		"all rejected":       {[]ec2ops.Snapshot{rejected("snap-1", 1), rejected("snap-2", 2)}, "snap-2 (2026-11-23 02:00 UTC) is rejected slow; snap-1", "snapsource promote snap-2;", failure.ExitNoSnapshot},
		"a candidate":        {[]ec2ops.Snapshot{candidate, rejected("snap-9", 9)}, "snap-c (2026-11-23 03:00 UTC) is not promoted", "snapsource promote snap-c;", failure.ExitNoSnapshot},
		"archived":           {[]ec2ops.Snapshot{archived, failed}, "is archived", "restore snap-a from the archive", failure.ExitNoSnapshot},
		"rejected, archived": {[]ec2ops.Snapshot{archived, rejected("snap-1", 1)}, "is archived", "snapsource promote snap-1;", failure.ExitNoSnapshot},
		"failed":             {[]ec2ops.Snapshot{failed}, "is error", "take a snapshot", failure.ExitNoSnapshot},
		"of a later version": {[]ec2ops.Snapshot{release("snap-1", 1), with(release("snap-2", 2), func(s *ec2ops.Snapshot) { s.Tags["snapsource:format"] = "2" })},
			"snap-2 is newer than snap-1, and made by a later version of snapsource (tags of format 2)", "install that version", failure.ExitNoSnapshot},
		"pending": {[]ec2ops.Snapshot{pending, rejected("snap-1", 1)}, "yet: snap-p", "once EC2 has completed snap-p (pending 7%)", failure.ExitTemporary},
		"more than it names": {[]ec2ops.Snapshot{rejected("snap-1", 1), rejected("snap-2", 2), rejected("snap-3", 3), rejected("snap-4", 4), rejected("snap-5", 5)},
			"snap-3 (2026-11-23 03:00 UTC) is rejected slow; and 2 older", "snapsource promote snap-5;", failure.ExitNoSnapshot},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Of("codepen-app", tc.all).Newest()
			if err == nil || failure.ExitCode(err) != tc.code || !strings.Contains(err.Error(), tc.says) || !strings.Contains(failure.Hint(err), tc.hint) {
				t.Errorf("exit code %d, %v\n%s\nwant %d, %q, %q", failure.ExitCode(err), err, failure.Hint(err), tc.code, tc.says, tc.hint)
			}
			if strings.Contains(failure.Hint(err), "init") != (len(tc.all) == 0) {
				t.Errorf("the advice is %s", failure.Hint(err))
			}
		})
	}
}
