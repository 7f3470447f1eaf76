package failure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

func apiError(kind error, code, message string) error {
	return &ec2ops.APIError{Action: "ec2:CreateVolume", Code: code, Message: message, Kind: kind, Err: kind}
}

// TestVerdicts: the names of the kinds never change, as programs read them.
func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		err  error
		kind string
		code int
		hint string // a part of it
	}{
		{nil, "", ExitDone, ""},
		{ErrUsage, "usage", ExitUsage, ""},
		{ec2ops.ErrSettings, "usage", ExitUsage, "~/.aws/config"},
		{ec2ops.ErrRegion, "usage", ExitUsage, "AWS_REGION"},
		{mountfs.ErrNoMkfs, "no_mkfs", ExitUsage, "xfsprogs"},
		{mountfs.ErrNoXFS, "no_xfs", ExitUsage, "kernel"},
		{mountfs.ErrOption, "mount_option", ExitUsage, "mount-option"},
		{ErrNoSnapshot, "no_eligible_snapshot", ExitNoSnapshot, "snapsource promote"},
		{ErrNotRelease, "not_a_release", ExitRefused, "snapsource reject"},
		{mountfs.ErrTarget, "target_in_use", ExitRefused, "--mount"},
		{ErrRefused, "refused", ExitRefused, "nothing was written"},
		{ec2ops.ErrNotEC2, "not_ec2", ExitNotEC2, "EC2 instance"},
		{ErrNotRoot, "not_root", ExitDenied, "root"},
		{ec2ops.ErrNoCredentials, "no_credentials", ExitDenied, "AWS_PROFILE"},
		{ec2ops.ErrNoRole, "no_credentials", ExitDenied, "give the instance an instance profile"},
		{ec2ops.ErrLogin, "no_credentials", ExitDenied, "aws sso login"},
		{ec2ops.ErrCredentialProcess, "no_credentials", ExitDenied, "credential_process"},
		{ec2ops.ErrKMS, "kms", ExitDenied, "kms:CreateGrant"},
		{ec2ops.ErrUnknownKey, "unknown_access_key", ExitDenied, "access key"},
		{ec2ops.ErrDenied, "denied", ExitDenied, "allow"},
		{ec2ops.ErrInvalid, "invalid_parameter", ExitUsage, "setting"},
		{ec2ops.ErrCredentials, "bad_credentials", ExitTemporary, "clock"},
		{ec2ops.ErrCapacity, "no_capacity", ExitTemporary, "run it again"},
		{ec2ops.ErrLimit, "limit", ExitUsage, "quota"},
		{ec2ops.ErrPermanent, "unknown_aws_error", ExitTemporary, "look it up"},
		{mountfs.ErrBusy, "busy", ExitTemporary, "release it"},
		{fmt.Errorf("x: %w", context.Canceled), "interrupted", ExitTemporary, "again"},
		{ec2ops.ErrThrottled, "throttled", ExitTemporary, "again"},
		{ErrTemporary, "temporary", ExitTemporary, "again"},
		{errors.New("x"), "bug", ExitBug, ReportTo},
	} {
		if kind, code, hint := Kind(tc.err), ExitCode(tc.err), Hint(tc.err); kind != tc.kind || code != tc.code || !strings.Contains(hint, tc.hint) {
			t.Errorf("%v: %q, %d, %q; want %q, %d, %q", tc.err, kind, code, hint, tc.kind, tc.code, tc.hint)
		}
	}
}

// TestSeveral: one temporary failure makes the run temporary, so that the unit restarts it;
// else the gravest decides.
func TestSeveral(t *testing.T) {
	denied, invalid := apiError(ec2ops.ErrDenied, "UnauthorizedOperation", ""), apiError(ec2ops.ErrInvalid, "InvalidParameter", "")
	for name, tc := range map[string]struct {
		err  error
		code int
		hint string
	}{
		"permanent, then temporary": {Several(denied, ErrTemporary), ExitTemporary, "run it again"},
		"temporary, then permanent": {Several(ErrTemporary, denied), ExitTemporary, "run it again"},
		"denied and invalid":        {Several(invalid, denied), ExitDenied, "allow ec2:CreateVolume"},
		"foreign data and denied":   {Several(denied, ErrRefused), ExitRefused, "inspect"},
		"one of them":               {Several(nil, denied, nil), ExitDenied, "allow ec2:CreateVolume"},
		"none":                      {Several(nil, nil), ExitDone, ""},
		"nested":                    {fmt.Errorf("x: %w", Several(denied, Several(invalid, ErrTemporary))), ExitTemporary, "run it again"},
	} {
		if code, hint := ExitCode(tc.err), Hint(tc.err); code != tc.code || !strings.Contains(hint, tc.hint) {
			t.Errorf("%s: %d, %q; want %d, %q", name, code, hint, tc.code, tc.hint)
		}
	}
	if all := Branches(Several(denied, Several(invalid, ErrTemporary))); len(all) != 3 || !errors.Is(all[2], ErrTemporary) {
		t.Errorf("branches: %v", all)
	}
}

// TestFollowedBy: what failed first decides, although what followed is graver.
func TestFollowedBy(t *testing.T) {
	mount := &mountfs.MountError{Op: "mount", Err: mountfs.ErrRefused}
	err := FollowedBy(Advise(mountfs.ErrBusy, "stop puma"), Advise(mount, "nonsense"))
	if ExitCode(err) != ExitTemporary || Hint(err) != "stop puma" || !strings.Contains(err.Error(), mount.Error()) {
		t.Errorf("%d, %q, %v", ExitCode(err), Hint(err), err)
	}
	if FollowedBy(nil, nil) != nil || ExitCode(FollowedBy(nil, ErrRefused)) != ExitRefused || ExitCode(FollowedBy(ErrRefused, nil)) != ExitRefused {
		t.Error("a nil error counts")
	}
}

func TestAdvise(t *testing.T) {
	if Advise(nil, "x") != nil {
		t.Error("advice for nil is an error")
	}
	err := Advise(fmt.Errorf("x: %w", Advise(ErrTemporary, "inner")), "outer")
	if ExitCode(err) != ExitTemporary || Hint(err) != "outer" || err.Error() != "x: temporary" {
		t.Errorf("%d, %q, %v", ExitCode(err), Hint(err), err)
	}
}

// TestDenialAdvice: AWS's messages name the policy that matters.
func TestDenialAdvice(t *testing.T) {
	const user = "User: arn:aws:sts::123456789012:assumed-role/web/i-0abc is not authorized to perform: "
	const onVolume = "ec2:CreateVolume on resource: arn:aws:ec2:us-west-2:123456789012:volume/* "
	for message, want := range map[string]string{
		"You are not authorized to perform this operation. " + user + onVolume + "because no identity-based policy allows the ec2:CreateVolume action":                                "allow ec2:CreateVolume on arn:aws:ec2:us-west-2:123456789012:volume/* in a policy of the role web",
		"You are not authorized to perform this operation. " + user + onVolume + "with an explicit deny in a service control policy":                                                  "a statement with Effect Deny in a service control policy denies ec2:CreateVolume on arn:aws:ec2:us-west-2:123456789012:volume/*",
		user + onVolume + "with an explicit deny in an identity-based policy":                                                                                                         "Deny in an identity-based policy",
		user + onVolume + "with an explicit deny in a VPC endpoint policy":                                                                                                            "in a VPC endpoint policy denies",
		user + onVolume + "with an explicit deny in a permissions boundary":                                                                                                           "in a permissions boundary denies",
		user + "ec2:CreateTags because no session policy allows the ec2:CreateTags action":                                                                                            "allow ec2:CreateTags in the session policy as well",
		user + "ec2:CreateTags because no service control policy allows the ec2:CreateTags action":                                                                                    "allow ec2:CreateTags in the service control policy as well",
		"User: arn:aws:iam::123456789012:user/ops/alice is not authorized to perform: ec2:DescribeSnapshots because no identity-based policy allows the ec2:DescribeSnapshots action": "allow ec2:DescribeSnapshots in a policy of the user alice",
		"You are not authorized to perform this operation.":                                                                                                                           "allow ec2:CreateVolume for these credentials",
	} {
		if got := Hint(apiError(ec2ops.ErrDenied, "UnauthorizedOperation", message)); !strings.Contains(got, want) {
			t.Errorf("%s\n%s\nwant %s", message, got, want)
		}
	}
}

func TestLimitAdvice(t *testing.T) {
	for code, want := range map[string]string{
		"VolumeLimitExceeded":     "snapsource prune finds",
		"MaxIOPSLimitExceeded":    "snapsource prune finds",
		"SnapshotLimitExceeded":   "old snapshots",
		"TagLimitExceeded":        "remove tags",
		"AttachmentLimitExceeded": "detach another volume",
		"OtherLimitExceeded":      "request a higher quota",
	} {
		if got := Hint(apiError(ec2ops.ErrLimit, code, "")); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", code, got, want)
		}
	}
}

// TestErrorsPage: docs/errors.md has a section for each kind, to which the messages refer, and a
// row for each exit code.
func TestErrorsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("meaning.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds, sections := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`verdict\{"([a-z0-9_]+)"`).FindAllSubmatch(source, -1) {
		kinds[string(m[1])] = true
	}
	for _, m := range regexp.MustCompile("(?m)^### ([a-z0-9_]+)$").FindAllSubmatch(page, -1) {
		sections[string(m[1])] = true
	}
	if len(kinds) < 20 || !maps.Equal(kinds, sections) {
		t.Errorf("kinds\n%v\nsections\n%v", slices.Sorted(maps.Keys(kinds)), slices.Sorted(maps.Keys(sections)))
	}
	for _, code := range gravity {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^\| ([0-9, ]+, )?%d(, [0-9]+)? \|`, code)).Match(page) {
			t.Errorf("no row for the exit code %d", code)
		}
	}
}
