package agenttest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

var passingIsNotLastingCases = []struct {
	command string
	faults  string
	code    int
	within  time.Duration // of the first fault's end, or of the row of the table
	says    string
}{
	{"up", "status=metadata-document@12s:401", 0, 20 * time.Second, ""},
	{"up", "status=metadata-token#1:403", 0, 10 * time.Second, ""},
	{"up", "status=metadata-document#1:404", 0, 10 * time.Second, ""},
	{"up", "hang=metadata", failure.ExitTemporary, 40 * time.Second, "does not answer"},
	{"up", "status=metadata:403", failure.ExitNotEC2, time.Minute, "is off"},
	{"up", "status=metadata-role@8s:404", 0, 20 * time.Second, ""},
	{"up", "status=metadata-role:404", failure.ExitDenied, 70 * time.Second, "no AWS credentials"},
	{"up", "error=DescribeVolumes@3s:AuthFailure", 0, 15 * time.Second, ""},
	{"up", "error=*@3s:AuthFailure", 0, 15 * time.Second, ""},
	{"up", "error=DescribeVolumes:AuthFailure", failure.ExitTemporary, 70 * time.Second, "AuthFailure"},
	{"up", "error=AttachVolume@10s:UnauthorizedOperation", 0, 20 * time.Second, ""},
	{"up", "error=AttachVolume:UnauthorizedOperation", failure.ExitDenied, 30 * time.Second, "UnauthorizedOperation"},

	{"up-in-group", "status=metadata-target@5s:404", 0, 10 * time.Second, ""},
	{"up-in-group", "unlisted=DescribeAutoScalingInstances@5s", 0, 15 * time.Second, ""},
	{"up-in-group", "unlisted=DescribeAutoScalingInstances@5s status=metadata-target@10s:404", 0, 20 * time.Second, ""},
	{"up-in-group", "lifecycle=DescribeAutoScalingInstances@5s:Warmed:Stopped", 0, 15 * time.Second, ""},
	{"up-in-group", "lifecycle=DescribeAutoScalingInstances:Warmed:Stopped", failure.ExitTemporary, 75 * time.Second, "Warmed:Stopped"},
	{"up-in-group", "unlisted=DescribeAutoScalingInstances", failure.ExitTemporary, 75 * time.Second, "does not list it"},
	{"up-in-group", "lifecycle=DescribeAutoScalingInstances@45s:Pending lifecycle=CompleteLifecycleAction@40s:Pending", 0, time.Minute, ""},
	{"up-in-group", "lifecycle=CompleteLifecycleAction:Pending", failure.ExitTemporary, 140 * time.Second, "not in the lifecycle hook launch"},

	{"up-again", "old-answer=CreateVolume", 0, time.Minute, ""},
	{"up", "taken-back=CreateVolume#1", 0, 50 * time.Second, ""},
	{"up", "taken-back=CreateVolume", failure.ExitTemporary, 130 * time.Second, "created and then deleted vol-"},
	{"up-encrypted", "taken-back=CreateVolume#1", 0, 50 * time.Second, ""},
	{"up-encrypted", "taken-back=CreateVolume", failure.ExitDenied, 130 * time.Second, "may not use the KMS key: arn:aws:kms:"},
	{"up-encrypted", "taken-back=CreateVolume stale=CreateVolume:1h", failure.ExitDenied, 4 * time.Minute, "KMS key"},
	{"up-encrypted", "taken-back=CreateVolume old-answer=CreateVolume stale=CreateVolume:1h", failure.ExitTemporary, 150 * time.Second, "does not find it"},
	{"up-encrypted", "error=AttachVolume@10s:CustomerKeyHasBeenRevoked", 0, 20 * time.Second, ""},
	{"up-encrypted", "error=AttachVolume:CustomerKeyHasBeenRevoked", failure.ExitDenied, 45 * time.Second, "CustomerKeyHasBeenRevoked"},
}

// TestPassingIsNotLasting: what passes is waited for, and only what lasts ends with an
// exit code on which a unit does not start the program again.
func TestPassingIsNotLasting(t *testing.T) {
	agenttest.UseEnv(t)
	for _, tc := range passingIsNotLastingCases {
		t.Run(tc.command+"/"+tc.faults, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
				command := commands[tc.command]
				if command.prepare != nil {
					command.prepare(s)
				}
				s.inject(tc.faults)
				began := time.Now()
				err := up(t.Context(), s)
				if took := time.Since(began); failure.ExitCode(err) != tc.code || took > tc.within {
					t.Errorf("exit code %d after %s (%v), want %d within %s", failure.ExitCode(err), took, err, tc.code, tc.within)
				}
				if err == nil {
					if err := command.done(s); err != nil {
						t.Error(err)
					}
					return
				}
				if !strings.Contains(failure.Line(err), tc.says) {
					t.Errorf("got %v, want %q", err, tc.says)
				}
				if kms := strings.Contains(failure.Hint(err), "kms:CreateGrant"); kms != strings.Contains(tc.says, "KMS") && tc.says != "CustomerKeyHasBeenRevoked" {
					t.Errorf("the hint is %q", failure.Hint(err))
				}
				if r, loadErr := s.web.LoadRecord(source); loadErr == nil && r.Hook != "" {
					t.Errorf("the record has the hook %s, which was not completed", r.Hook)
				}
			})
		})
	}
}

func (s *scene) inject(specs string) {
	s.t.Helper()
	var faults []ec2test.Fault
	for spec := range strings.FieldsSeq(specs) {
		f, err := ec2test.ParseFault(spec)
		if err != nil {
			s.t.Fatal(err)
		}
		faults = append(faults, f)
	}
	s.cloud.Server.SetFaults(faults...)
}

// TestHealthyInstanceIsNotAbandoned: whatever Auto Scaling says late, an instance whose
// Source is fine is let in, in the end, and never replaced.
func TestHealthyInstanceIsNotAbandoned(t *testing.T) {
	agenttest.UseEnv(t)
	for _, fault := range []string{
		"lifecycle=CompleteLifecycleAction@3m:Pending", "lifecycle=DescribeAutoScalingInstances@3m:Warmed:Stopped", "unlisted=DescribeAutoScalingInstances@3m",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
			commands["up-in-group"].prepare(s)
			s.inject(fault)
			var err error
			for run := 1; run <= 5; run++ {
				if err = up(t.Context(), s); failure.ExitCode(err) != failure.ExitTemporary {
					break
				}
				time.Sleep(10 * time.Second)
			}
			if err != nil {
				t.Errorf("%s: %v", fault, err)
			} else if err := isLetIn(s); err != nil {
				t.Errorf("%s: %v", fault, err)
			}
		})
	}
}

// TestNeverTwoVolumes: EC2 may show a volume late, by its id and in lists; no run takes it
// for gone as long as it may still appear. What an old client token stands for is another
// matter: it was asked for long ago.
func TestNeverTwoVolumes(t *testing.T) {
	agenttest.UseEnv(t)
	for _, late := range []time.Duration{30 * time.Second, 45 * time.Second, 100 * time.Second, 4 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
			s.inject(fmt.Sprintf("stale=CreateVolume#1:%s", late))
			runs := 0
			var err error
			for runs < 5 {
				runs++
				if err = up(t.Context(), s); failure.ExitCode(err) != failure.ExitTemporary {
					break
				}
				time.Sleep(10 * time.Second)
			}
			if err != nil {
				t.Errorf("shown after %s: %v", late, err)
			}
			if err := isUp(s); err != nil {
				t.Errorf("shown after %s, %d runs: %v", late, runs, err)
			}
		})
	}
}

// TestForgottenVolume: a volume that EC2 never shows is taken for gone once it is old
// enough, and no run before that makes another.
func TestForgottenVolume(t *testing.T) {
	agenttest.UseEnv(t)
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
		s.inject("taken-back=CreateVolume#1 stale=CreateVolume#1:1h old-answer=CreateVolume")
		began := time.Now()
		var err error
		for range 5 {
			if err = up(t.Context(), s); failure.ExitCode(err) != failure.ExitTemporary {
				break
			}
			if made := len(s.cloud.Mutations()); time.Since(began) < ec2ops.StaleTokenAge && len(s.live()) > 0 {
				t.Errorf("%d volumes after %s and %d calls", len(s.live()), time.Since(began), made)
			}
			time.Sleep(10 * time.Second)
		}
		if err != nil {
			t.Error(err)
		} else if err := isUp(s); err != nil {
			t.Error(err)
		}
	})
}
