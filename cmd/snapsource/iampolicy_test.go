//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snapsource/ec2ops/ec2test/iam"
)

// policyFile writes what a command prints to a file.
func policyFile(t *testing.T, s *sandbox, command string) string {
	t.Helper()
	text := s.run("printer", command)
	for _, err := range iam.Lint([]byte(text)) {
		t.Errorf("%s: %v", command, err)
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPrintedPolicyInForce: under the policy that iam-policy prints, an instance boots, takes a snapshot
// and goes down again. The AWS CLI on it is denied what is not its own.
func TestPrintedPolicyInForce(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	policy := policyFile(t, s, "snapsource iam-policy --for boot,deploy --role app")
	s.run("web-2", "snapsource up -q")
	victim := instanceID(s, "web-2")
	out := s.run("web-3", `
snapsource up -q --role app
snapsource snapshot -q --wait
self=$(aws sts get-caller-identity --query Arn --output text | sed "s|.*/||")
theirs=$(aws ec2 describe-volumes --filters Name=tag:snapsource:instance,Values=`+victim+` --query 'Volumes[0].VolumeId' --output text)
attack() { "$@" 2>&1 | grep -o 'UnauthorizedOperation\|DryRunOperation'; }
attack aws ec2 detach-volume --dry-run --volume-id $theirs
attack aws ec2 delete-volume --dry-run --volume-id $theirs
attack aws ec2 create-tags --dry-run --resources `+victim+` --tags Key=Roles,Value=
attack aws ec2 delete-tags --dry-run --resources `+victim+` --tags Key=Roles
attack aws ec2 modify-instance-attribute --dry-run --instance-id $self --attribute userData --value eA==
attack aws ec2 create-tags --dry-run --resources $self --tags Key=Roles,Value=app
snapsource down -q --delete --role app`, "--policy", policy)
	if want := strings.Repeat("UnauthorizedOperation\n", 5) + "DryRunOperation\n"; out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}
