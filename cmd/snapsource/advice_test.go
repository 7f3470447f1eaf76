//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// adviceTests are failures by the advice that they end with.
var adviceTests = map[string]struct {
	script string
	flags  []string
	code   int
	says   []string
	not    []string
}{
	"all rejected": {script: "snapsource reject latest --allow-none --reason slow >/dev/null; snapsource up", code: 69,
		says: []string{" is rejected 20", "slow", "to do: if this release is good, run snapsource promote snap-"}, not: []string{"init"}},
	"no snapshot at all":     {script: "snapsource up --source nothing", code: 69, says: []string{"if there never was a snapshot, snapsource init makes the first volume"}},
	"reject without any":     {script: "snapsource reject latest --source nothing", code: 69, says: []string{"check the source's name and the region"}},
	"snapshot before up":     {script: "snapsource snapshot", code: 75, says: []string{"to do: run snapsource up first"}, not: []string{"run it again"}},
	"hosts without a match":  {script: "snapsource hosts --role nobody", code: 75, says: []string{"to do: check the role, the stage and the region; --explain"}, not: []string{"run it again"}},
	"hosts without a region": {script: "AWS_REGION= AWS_DEFAULT_REGION= snapsource hosts --role app", code: 64, says: []string{"set AWS_REGION"}},
	"no such profile":        {script: "AWS_PROFILE=nope snapsource up", code: 64, says: []string{"AWS_PROFILE=nope: there is no such profile"}, not: []string{"report it"}},
	"no such CA bundle":      {script: "AWS_CA_BUNDLE=/nope snapsource snapshots", code: 64, says: []string{"AWS_CA_BUNDLE=/nope"}},
	"a malformed endpoint":   {script: "AWS_ENDPOINT_URL_EC2=nowhere snapsource hosts --role app", code: 64, says: []string{"AWS_ENDPOINT_URL_EC2=nowhere is not a URL"}},
	"a quota":                {script: "snapsource up", flags: []string{"--fault", "error=CreateVolume:VolumeLimitExceeded"}, code: 64, says: []string{"VolumeLimitExceeded", "request a higher quota"}},
	"attachments":            {script: "snapsource up", flags: []string{"--fault", "error=AttachVolume:AttachmentLimitExceeded"}, code: 64, says: []string{"detach another volume", "is deleted after the failure"}},
	"no capacity":            {script: "snapsource up --timeout 4s", flags: []string{"--fault", "error=CreateVolume:InsufficientVolumeCapacity"}, code: 75, says: []string{"EC2 has no capacity"}},
	"down that is busy":      {script: "snapsource up >/dev/null; cd /cp; snapsource down", code: 75, says: []string{"to do: release it, as the message says"}},
	"several that are permanent": {script: `printf 'sources:\n- {source: other, device: /dev/sdg, mount: /other, binds: []}\n- {source: third, device: /dev/sdh, mount: /third, binds: []}\n' >/etc/snapsource.yaml
mkdir -p /other; echo x >/other/file; snapsource up --output json >/dev/null`, code: 65, says: []string{`"exit_code":65,"to_do":"empty the directory`, `"exit_code":69,"to_do":"check the source's name`}},
	"typed, not on EC2":     {script: `AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 script -qec "snapsource plan" /dev/null`, code: 78, says: []string{"no EC2 instance metadata service responds at http://127.0.0.1:1", "this is not an EC2 instance"}},
	"not typed, not on EC2": {script: `AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 snapsource plan --timeout 4s </dev/null`, code: 75, says: []string{"connection refused"}},
	"status, not on EC2":    {script: `AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 script -qec "snapsource status" /dev/null`, code: 2, says: []string{"state      unknown", "this is not an EC2 instance"}},
}

// TestAdvice: what a failure says to do is what helps.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for name, tc := range adviceTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := deployed(t)
			out, code := s.try("web-2", tc.script, tc.flags...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d\n%s", code, tc.code, out)
			}
			contains(t, out, tc.says...)
			for _, not := range tc.not {
				if strings.Contains(out, not) {
					t.Errorf("there is %q in\n%s", not, out)
				}
			}
		})
	}
}

// TestSeveralFailures: each source has its own advice, and one temporary failure makes the
// unit run all of them again.
func TestSeveralFailures(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.change(func(w *ec2test.World) {
		w.Snapshots["snap-00000000000000001"] = &ec2test.Snapshot{ID: "snap-00000000000000001", Owner: "123456789012", Tier: "standard", Size: 5,
			Started: time.Now(), Pending: true, Tags: ec2test.Tags{"Name": "late"}}
	})
	out, code := s.try("web-2", `cat >/etc/snapsource.yaml <<'END'
sources:
- {source: other, device: /dev/sdg, mount: /other, binds: []}
- {source: late, device: /dev/sdh, mount: /late, binds: []}
- {source: codepen-app}
END
mkdir -p /other; echo x >/other/file; snapsource up`)
	if code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
	contains(t, out, "snapsource: other: survey:", "to do: empty the directory", "snapsource: late: choose:", "to do: run it again once EC2 has completed snap-00000000000000001", "Source codepen-app is ready")
}

// TestPruneKeeps: what AWS Backup manages, or something else needs, is kept without an error,
// also after a snapshot; and what fails there is only a note.
func TestPruneKeeps(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	const backup, image, locked = "snap-00000000000000001", "snap-00000000000000002", "snap-00000000000000003"
	addSnapshots(s, map[string]time.Duration{backup: 24 * time.Hour, image: 48 * time.Hour, locked: 72 * time.Hour})
	s.change(func(w *ec2test.World) {
		w.Snapshots[backup].Tags["aws:backup:source-resource"] = "vol-x"
		w.Snapshots[image].Image = "ami-0123456789abcdef0"
		w.Snapshots[locked].Locked = true
	})
	out := s.run("web-1", "snapsource prune --keep 1\nsnapsource prune --keep 1 --output json")
	contains(t, out, backup+"  kept", "managed by the AWS Backup service", image+"  kept", "in use by ami-0123456789abcdef0", locked+"  kept",
		`"deleted": false`, `"kept": "This snapshot is managed by the AWS Backup`)
	out = s.run("web-1", "snapsource up >/dev/null\nsnapsource snapshot --wait --keep 1")
	contains(t, out, backup+" is kept: This snapshot is managed by the AWS Backup", locked+" is kept", "1 that are no longer needed")
	addSnapshots(s, map[string]time.Duration{"snap-00000000000000004": 96 * time.Hour, "snap-00000000000000005": 95 * time.Hour})
	out = s.run("web-1", "snapsource up >/dev/null\nsnapsource snapshot --wait --keep 1", "--deny=DeleteSnapshot")
	contains(t, out, "an old snapshot or volume could not be deleted: DeleteSnapshot snap-00000000000000004: UnauthorizedOperation")
}

// TestMistypedHookByCommand: plan and up find it before anything is created.
func TestMistypedHookByCommand(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("web-0", waitingGroup(3)+`
aws autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 1`)
	for _, command := range []string{"plan", "up"} {
		out, code := s.try("web-2", "snapsource "+command+" --lifecycle-hook lanch")
		if contains(t, out, "web has no launch hook lanch; it has launch", "to do: set lifecycle-hook to launch"); code != 64 {
			t.Errorf("%s: exit code %d\n%s", command, code, out)
		}
	}
	if n := len(s.volumes("codepen-app")); n != 1 { // web-1's
		t.Errorf("%d volumes, want 1", n)
	}
	out := s.run("web-2", "snapsource up --lifecycle-hook launch", "--deny=DescribeLifecycleHooks")
	contains(t, out, "the name of the lifecycle hook launch is not checked: allow autoscaling:DescribeLifecycleHooks", "Source is ready")
}
