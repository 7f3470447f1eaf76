package ec2test_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

const (
	otherRegion  = "eu-west-1"
	otherAccount = "210987654321"
)

// TestCLIOfCopies: one state has several regions and accounts, and the AWS CLI sees of each what EC2
// shows.
func TestCLIOfCopies(t *testing.T) {
	if _, err := os.Stat(cli); err != nil {
		t.Skipf("needs Debian's awscli: %v", err)
	}
	fake := ec2test.New(t, ec2test.Options{Regions: []string{otherRegion}})
	here := awsEC2(t, fake.Launch("web-1"))
	there := awsEC2(t, fake.At(ec2test.Place{Account: otherAccount, Region: ec2test.DefaultRegion}).Launch("web-2"))
	want := func(aws func(string) (string, error), line, want string) {
		t.Helper()
		if got, err := aws(line); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("aws ec2 %s: got %q (%v), want %q", line, got, err, want)
		}
	}
	id := fake.AddSnapshot(ec2test.Snapshot{
		Encrypted: true, KMSKeyID: "arn:aws:kms:us-west-2:123456789012:key/a", Started: time.Now().Add(-time.Hour), Tags: ec2test.Tags{"Name": "codepen-app"},
	})
	pending := fake.AddSnapshot(ec2test.Snapshot{Pending: true})
	const owned = "describe-snapshots --owner-ids self --region " + otherRegion + " --query "

	want(here, owned+"Snapshots[].SnapshotId", "")
	made, err := here("copy-snapshot --region " + otherRegion + " --source-region us-west-2 --source-snapshot-id " + id + " --query SnapshotId " +
		"--tag-specifications ResourceType=snapshot,Tags=[{Key=Name,Value=copy}]")
	if err != nil {
		t.Fatalf("copy-snapshot: %v %s", err, made)
	}
	want(here, owned+"Snapshots[].[SnapshotId,State,VolumeId,Encrypted,Tags[0].Value]", made+" completed vol-ffffffff True copy")
	want(here, owned+"Snapshots[].KmsKeyId", "arn:aws:kms:eu-west-1:")
	want(here, "describe-snapshots --snapshot-ids "+made+" --query Snapshots", "(InvalidSnapshot.NotFound)")
	want(here, "copy-snapshot --source-region us-west-2 --source-snapshot-id "+pending, "(IncorrectState)")
	want(here, "copy-snapshot --source-region nowhere-1 --source-snapshot-id "+id, "(InvalidParameterValue)")
	want(here, "copy-snapshot --source-region us-west-2 --kms-key-id x --source-snapshot-id "+id, "(InvalidParameterDependency)")
	// With a key of another region EC2 accepts the call, and the copy fails.
	bad, _ := here("copy-snapshot --source-region us-west-2 --encrypted --kms-key-id arn:aws:kms:eu-west-1:123456789012:key/a --query SnapshotId --source-snapshot-id " + id)
	want(here, "describe-snapshots --query Snapshots[].State --snapshot-ids "+bad, "error")

	// Another account sees what is shared with it, and no tags but its own.
	const shared = "describe-snapshots --owner-ids 123456789012 --query Snapshots[].[SnapshotId,Tags[].Value|[0]] "
	want(there, shared, "")
	want(here, "modify-snapshot-attribute --attribute createVolumePermission --operation-type add --user-ids "+otherAccount+" --snapshot-id "+id, "")
	want(here, "describe-snapshot-attribute --attribute createVolumePermission --query CreateVolumePermissions[].UserId --snapshot-id "+id, otherAccount)
	want(there, shared, id+" None")
	want(there, shared+"--filters Name=tag:Name,Values=codepen-app", "")
	want(there, shared+"--restorable-by-user-ids self", id)
	want(there, "create-tags --resources "+id+" --tags Key=Name,Value=mine", "")
	want(there, shared, id+" mine")
	want(here, "describe-snapshots --owner-ids self --query Snapshots[].Tags[].Value --snapshot-ids "+id, "codepen-app")
	want(there, "delete-snapshot --snapshot-id "+id, "(OperationNotPermitted)")
	want(there, "describe-instances --query Reservations[].Instances[].Tags[].Value", "web-2")
	copied, _ := there("copy-snapshot --source-region us-west-2 --query SnapshotId --source-snapshot-id " + id)
	want(there, "describe-snapshots --owner-ids self --query Snapshots[].[SnapshotId,OwnerId,Tags]", copied+" "+otherAccount)
	want(here, "modify-snapshot-attribute --attribute createVolumePermission --operation-type remove --user-ids "+otherAccount+" --snapshot-id "+id, "")
	want(there, shared, "")
	// A public snapshot is none that is shared with the account.
	public := fake.AddSnapshot(ec2test.Snapshot{Public: true})
	want(there, shared, public)
	want(there, shared+"--restorable-by-user-ids self", "")
}

// TestCLIOfCopyLimit: only so many copies may be pending in a region.
func TestCLIOfCopyLimit(t *testing.T) {
	if _, err := os.Stat(cli); err != nil {
		t.Skipf("needs Debian's awscli: %v", err)
	}
	fake := ec2test.New(t, ec2test.Options{CopyLimit: 1})
	aws := awsEC2(t, fake.Launch("web-1"))
	fake.AddSnapshot(ec2test.Snapshot{Copy: true, Pending: true})
	got, err := aws("copy-snapshot --source-region us-west-2 --source-snapshot-id " + fake.AddSnapshot(ec2test.Snapshot{}))
	if err == nil || !strings.Contains(got, "(ResourceLimitExceeded)") {
		t.Errorf("a second copy: %q (%v), want ResourceLimitExceeded", got, err)
	}
}
