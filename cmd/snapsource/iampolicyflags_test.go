package main

import (
	"strings"
	"testing"
)

// TestPolicyFlags: what iam-policy prints on stdout and stderr, or refuses.
func TestPolicyFlags(t *testing.T) {
	atWorkstation(t, "http://127.0.0.1:1")
	const everything = "iam-policy --for boot,deploy,operator --role app --hook --encrypted --kms-key a --launch-template lt-0"
	for line, want := range map[string]struct {
		code           int
		stdout, stderr string
	}{
		"iam-policy":                                     {0, "CreateOwnVolumes", ""},
		"iam-policy --for boot --for copy":               {0, "CopyFromTheAccount", ""},
		"iam-policy --for copy --for boot":               {0, "CreateOwnVolumes", ""},
		"iam-policy --for copy --owner 210987654321":     {0, `"210987654321"`, ""},
		"iam-policy --for copy --copy-kms-key mrk-1":     {0, ":key/mrk-1", ""},
		"iam-policy --region us-gov-east-1":              {0, "arn:aws-us-gov:ec2", ""},
		everything:                                       {0, "Version", "characters, but a managed policy has at most 6144"},
		"iam-policy --for ,":                             {64, "", `"" is none of boot`},
		"iam-policy --for everybody":                     {64, "", `"everybody" is none of boot`},
		"iam-policy --owner self":                        {64, "", `"self" is not the number of an account`},
		"iam-policy --copy-kms-key *":                    {64, "", `"*" is not a key's id`},
		"copy --region us-east-1 --to-region cn-north-1": {64, "", "cn-north-1 is in the partition aws-cn"},
	} {
		code, stdout, stderr := say(t, line)
		if code != want.code || !strings.Contains(stdout, want.stdout) || !strings.Contains(stderr, want.stderr) || want.stderr == "" && stderr != "" {
			t.Errorf("%s: exit code %d, stderr %q, want %+v", line, code, stderr, want)
		}
	}
	if names := strings.Join(personas([]string{"boot, deploy", "copy"}), "+"); names != "boot+deploy+copy" {
		t.Errorf("--for has the names %s", names)
	}
}
