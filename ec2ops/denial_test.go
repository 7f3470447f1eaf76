package ec2ops_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// TestDenial: what AWS's messages say. (IAM user guide, "Troubleshoot access denied error
// messages")
func TestDenial(t *testing.T) {
	const user, onVolumes = "arn:aws:sts::123456789012:assumed-role/web/i-0abc", "arn:aws:ec2:us-west-2:123456789012:volume/*"
	message := "You are not authorized to perform this operation. User: " + user + " is not authorized to perform: ec2:CreateTags on resource: " + onVolumes + " "
	for text, want := range map[string]ec2ops.Denial{
		message + "with an explicit deny in a service control policy":                        {Action: "ec2:CreateTags", Resource: onVolumes, Role: "web", Policy: "service control policy", Explicit: true},
		message + "with an explicit deny in a resource control policy":                       {Action: "ec2:CreateTags", Resource: onVolumes, Role: "web", Policy: "resource control policy", Explicit: true},
		message + "with an explicit deny in an identity-based policy":                        {Action: "ec2:CreateTags", Resource: onVolumes, Role: "web", Policy: ec2ops.IdentityPolicy, Explicit: true},
		message + "with an explicit deny in a VPC endpoint policy":                           {Action: "ec2:CreateTags", Resource: onVolumes, Role: "web", Policy: "VPC endpoint policy", Explicit: true},
		message + "because no permissions boundary allows the ec2:CreateTags action":         {Action: "ec2:CreateTags", Resource: onVolumes, Role: "web", Policy: "permissions boundary"},
		message + "because no identity-based policy allows the ec2:CreateTags action":        {Action: "ec2:CreateTags", Resource: onVolumes, Role: "web", Policy: ec2ops.IdentityPolicy},
		"User: arn:aws:iam::123456789012:user/ops/alice is not authorized to perform: ec2:X": {Action: "ec2:X", User: "alice"},
		"You are not authorized to perform this operation.":                                  {Action: "ec2:CreateVolume"},
	} {
		if got := (&ec2ops.APIError{Action: "ec2:CreateVolume", Message: text}).Denial(); got != want {
			t.Errorf("%s\n%+v, want %+v", text, got, want)
		}
	}
}

// TestEncodedMessage: the encoded part of EC2's message is no help, and is left out.
func TestEncodedMessage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/web/i-0abc is not authorized to perform: ec2:CreateSnapshot on resource: arn:aws:ec2:us-west-2::snapshot/* with an explicit deny in a service control policy. Encoded authorization failure message: %s</Message></Error></Errors><RequestID>x</RequestID></Response>`, strings.Repeat("Zx9_", 200))
	}))
	defer srv.Close()
	useEnv(t, ec2test.Env(srv.URL, "http://127.0.0.1:1", "us-west-2"))
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789EXAMPL")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	c, err := ec2ops.New(t.Context(), ec2ops.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateSnapshot(t.Context(), ec2ops.SnapshotSpec{VolumeID: "vol-0123456789abcdef0"}) // which is not retried
	api, ok := errors.AsType[*ec2ops.APIError](err)
	if !ok || !errors.Is(err, ec2ops.ErrDenied) || strings.Contains(err.Error(), "Encoded") || strings.Contains(err.Error(), "Zx9_") {
		t.Fatalf("got %v", err)
	}
	want := ec2ops.Denial{Action: "ec2:CreateSnapshot", Resource: "arn:aws:ec2:us-west-2::snapshot/*", Role: "web", Policy: "service control policy", Explicit: true}
	if d := api.Denial(); d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
}

// TestLimits: a quota does not pass; capacity does.
func TestLimits(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	for code, passes := range map[string]bool{
		"VolumeLimitExceeded": false, "MaxIOPSLimitExceeded": false, "TagLimitExceeded": false, "AttachmentLimitExceeded": false, "SomeNewLimitExceeded": false,
		"InsufficientVolumeCapacity": true, "VolumeInitializationLimitExceeded": true,
	} {
		synctest.Test(t, func(t *testing.T) {
			_, c := inMemory(t, "error=CreateVolume:"+code)
			self, err := c.Identify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.CreateVolume(t.Context(), spec(self, "", 1)); !errors.Is(err, ec2ops.ErrLimit) || errors.Is(err, ec2ops.ErrCapacity) != passes {
				t.Errorf("%s: %v", code, err)
			}
		})
	}
}

// TestNeeded: EC2 does not delete what something else needs.
func TestNeeded(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c, _ := connect(t, fake)
	for says, s := range map[string]ec2test.Snapshot{
		"in use by ami-0123456789abcdef0": {Image: "ami-0123456789abcdef0"},
		"enabled for fast restores":       {FastRestores: map[string]ec2test.FastRestore{"us-west-2c": {}}},
		"managed by the AWS Backup":       {Tags: ec2test.Tags{"aws:backup:source-resource": "x"}},
		"is locked":                       {Locked: true},
	} {
		id := fake.AddSnapshot(s)
		if err := c.DeleteSnapshot(t.Context(), id); !errors.Is(err, ec2ops.ErrNeeded) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}
