package failure

import (
	"errors"
	"strings"

	"snapsource/ec2ops"
)

// kmsActions are the permissions on the key that creating or attaching an encrypted volume needs.
// (EBS user guide, "Permissions for IAM users"; EC2 user guide, "EBSEncryption")
const kmsActions = "kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt*"

// loginAdvice says how to get credentials.
func loginAdvice(err error) string {
	switch {
	case is(err, ec2ops.ErrNoRole):
		return "give the instance an instance profile"
	case is(err, ec2ops.ErrLogin):
		return "log in again with aws sso login, and with --profile if AWS_PROFILE is set"
	case is(err, ec2ops.ErrCredentialProcess):
		return "run the program that credential_process names in ~/.aws/config by itself; it must print credentials"
	}
	return "log in to AWS, or choose a profile with AWS_PROFILE; on an instance, give it an instance profile"
}

// denialAdvice names the missing permission, or the policy that denies it.
func denialAdvice(err error) string {
	var api *ec2ops.APIError
	if !errors.As(err, &api) {
		return "allow it in the policy of the instance's role"
	}
	d := api.Denial()
	what := d.Action
	if d.Resource != "" {
		what += " on " + d.Resource
	}
	switch {
	case d.Explicit:
		return "a statement with Effect Deny in " + article(d.Policy) + " denies " + what + ": have it changed there; an allow elsewhere does not help"
	case d.Policy != "" && d.Policy != ec2ops.IdentityPolicy:
		return "allow " + what + " in the " + d.Policy + " as well"
	case d.Role != "":
		return "allow " + what + " in a policy of the role " + d.Role
	case d.User != "":
		return "allow " + what + " in a policy of the user " + d.User
	}
	return "allow " + what + " for these credentials: on an instance, in the policy of its role"
}

// limitAdvice says how to get below a limit, or to have it raised.
func limitAdvice(err error) string {
	var api *ec2ops.APIError
	errors.As(err, &api)
	switch {
	case api == nil:
	case api.Code == "AttachmentLimitExceeded":
		return "detach another volume or network interface from the instance, or use an instance type with more attachments; then run again"
	case api.Code == "TagLimitExceeded":
		return "remove tags from the resource, which can have 50, or configure fewer; then run again"
	case api.Code == "SnapshotLimitExceeded":
		return "delete old snapshots (snapsource prune), or request a higher quota; then run again"
	case strings.HasPrefix(api.Code, "Volume"), strings.HasPrefix(api.Code, "Max"):
		return "delete unused volumes (snapsource prune finds those of terminated instances), or request a higher quota; then run again"
	}
	return "delete unused resources, or request a higher quota; then run again"
}

// article returns the name of a policy with its article.
func article(policy string) string {
	if strings.HasPrefix(policy, "identity") {
		return "an " + policy
	}
	return "a " + policy
}
